package quote

// Bounds on everything that is parsed here. All of it comes from a log, a
// mirror or a TPM and is hostile until its signature has been verified.
const (
	// MaxAttest bounds a TPMS_ATTEST. The largest we accept, a quote, is at
	// most 4+2+2+34+2+32+17+8+ (4+2+1+4) + 2+32 = 146 bytes; 512 leaves the
	// "too long" error to be about garbage, not about a byte or two.
	MaxAttest = 512
	// MaxSignature bounds a TPMT_SIGNATURE: ECDSA P-256 is 4 + 2×(2+32) = 72.
	MaxSignature = 128
	// MaxPublic bounds the TPMT_PUBLIC of an AK: 88 bytes with a P-256 point.
	MaxPublic = 256
	// MaxCreation bounds a TPMS_CREATION_DATA; ours is at most 4+34+1+2+6+6+34 = 87.
	MaxCreation = 256
	// MaxOutside bounds outsideInfo. A TPM2B_DATA holds a TPMT_HA (Part 2,
	// §10.4.3); a TPM that knows nothing beyond SHA-256 takes 2 + 32 bytes.
	// What is longer is hashed by the caller.
	MaxOutside = 32

	maxName   = 2 + 32 // nameAlg ‖ SHA-256
	maxScalar = 32     // P-256 coordinate, r or s
	maxSelect = 4      // sizeofSelect: 24 PCRs are 3 octets on every TPM made so far
)
