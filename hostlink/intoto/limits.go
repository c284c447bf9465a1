package intoto

const (
	// MaxKeyFile bounds the file of a functionary's key: certificates that many
	// others certified have some hundred KiB.
	MaxKeyFile = 1 << 20

	// MaxFile bounds a file of metadata with its signatures, as strictjson does.
	MaxFile = 256 << 10

	// maxTime bounds times of keys, in seconds: in-toto refuses a whole layout with
	// a greater one (securesystemslib 0.26, formats.GPG_RSA_PUBKEY_SCHEMA).
	maxTime = 1<<31 - 1

	// MaxName bounds a step's name, which stands in file names beside a key id.
	MaxName = 64
)
