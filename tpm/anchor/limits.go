package anchor

// Bounds of what this package reads.
const (
	// MaxTrust bounds a trust note: a public key, ledger.MaxKeys OpenPGP
	// certificates in base64, 24 note keys and a signature line for each
	// administrator.
	MaxTrust = 96 << 10
	// maxLogKeys bounds the log keys of a trust: a key is replaced when it
	// was lost or stolen, not every year.
	maxLogKeys = 8
	// maxAdministrators is policy.MaxAdministrators.
	maxAdministrators = 16
	// maxVersion bounds versions of trust: each is made by people.
	maxVersion = 1 << 20
	// maxTPMLine bounds the signature bytes of a TPM line: 32 bytes, a
	// TPM2B_ATTEST and a TPMT_SIGNATURE, each far below 1 KiB.
	maxTPMLine = 4 << 10
)
