package order

// MaxText bounds the text of an order in bytes: the record of an RSA-4096 key of
// a token takes some 7 KiB, its certificates being in base64, all else is below
// 1500. With a signature line for each of 17 keys it is below ledger.MaxOrder.
const MaxText = 12 << 10
