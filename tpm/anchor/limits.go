package anchor

// Bounds of what this package reads.
const (
	// MaxTrust bounds a trust note: a public key, maxCerts OpenPGP certificates
	// in base64, 40 note keys and a signature line for each administrator.
	MaxTrust = 288 << 10
	// maxCerts is policy.MaxKeys: keys may join a log.
	maxCerts = 24
	// maxLogKeys bounds the log keys of a trust: a key is replaced when it
	// was lost or stolen, not every year.
	maxLogKeys = 8
	// maxAdministrators is policy.MaxAdministrators, which bounds those of
	// recovery too.
	maxAdministrators = 16
	// maxVersion bounds versions of trust: each is made by people.
	maxVersion = 1 << 20
	// maxTPMLine bounds the signature bytes of a TPM line: 32 bytes, a
	// TPM2B_ATTEST and a TPMT_SIGNATURE, each far below 1 KiB.
	maxTPMLine = 4 << 10
)
