package order

// MaxText bounds the text of an order in bytes: the record of an RSA-4096 key of
// a token takes some 7 KiB, its certificates being in base64, all else is below
// 1500. With a signature line for each of 17 keys it is below ledger.MaxOrder.
const MaxText = 12 << 10

const (
	// MaxImage bounds what a slot holds in bytes: the targets are 16 MB for
	// boot.img, and a board writes and reads back all of it while an operator waits.
	MaxImage = 256 << 20

	// sector is what a card is written in.
	sector = 512
)
