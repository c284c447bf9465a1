package anchor

// Bounds of what this package reads.
const (
	// MaxTrust bounds a trust text: two public keys and an OpenPGP
	// certificate in base64.
	MaxTrust = 32 << 10
	// maxTPMLine bounds the signature bytes of a TPM line: 32 bytes, a
	// TPM2B_ATTEST and a TPMT_SIGNATURE, each far below 1 KiB.
	maxTPMLine = 4 << 10
)
