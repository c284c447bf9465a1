package sigformat

// Every bound of the package, with its reason.
const (
	// maxCount is the first byte count a hash state may not have. SHA-256
	// counts bits in 64 bits (FIPS 180-4 §5.1.1), so a message has fewer than
	// 2^61 bytes; the 4096 leave room for the subpackets and the trailer that
	// are hashed after the file.
	maxCount = 1<<61 - 4096

	// MaxState is the longest hash state: SHA-512's 64 chaining bytes, the
	// count and 127 bytes of tail.
	MaxState = 64 + 8 + 127

	// MaxSignature bounds a signature packet: a 512-byte RSA value and a
	// notation carrying the longest origin (message.MaxOrigin) twice stay
	// under it.
	MaxSignature = 1024

	// MaxClear bounds a text that a signature stands below: the Release file of
	// the largest distribution has a quarter of that.
	MaxClear = 1 << 20

	// MaxSignatureFile bounds a file with a signature: every line of such a text
	// may have grown by the two bytes of an escaped dash.
	MaxSignatureFile = 3*MaxClear + 2*MaxSignature

	// MaxCertificate bounds a certificate, as entries and trust files do
	// (docs/spec/ledger.md §1): an RSA-4096 key, a user id of MaxUserID bytes,
	// their self-signature and at least five renewals stay under it.
	MaxCertificate = 8 << 10

	// MaxUserID is what fits into a packet with a one-byte length, which is
	// also more than any display shows.
	MaxUserID = 200

	// minTime and maxTime bound what is written into the four-byte OpenPGP
	// time field (RFC 9580 §3.5): years 2020 to 2105.
	minTime = 1577836800 // 2020-01-01T00:00:00Z
	maxTime = 1<<32 - 1  // 2106-02-07T06:28:15Z

	// MaxLine bounds a line of canonical text: gpg cuts longer ones off where
	// others do not.
	MaxLine = 19000

	// MaxPrimary bounds the packet body of a primary key that is kept elsewhere: one
	// of RSA-8192 has 1037 bytes.
	MaxPrimary = 1100

	rsaExponent = 65537 // what PIV tokens generate; anything else is not ours
)
