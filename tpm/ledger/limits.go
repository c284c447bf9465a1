package ledger

// Bounds of entries and proofs, each with its reason.
const (
	// MaxEntry bounds one entry in bytes. A tlog-tiles entry bundle stores a
	// length as uint16 (C2SP tlog-tiles, "Log entries"); the rest is head room.
	MaxEntry = 60 << 10
	// MaxItems bounds the items of one intent: an approval has 1 to 16.
	MaxItems = 16
	// MaxCodes bounds the refused lines of one intent: message.md has some 30
	// codes, and more may come.
	MaxCodes = 64
	// MaxSize bounds tree sizes and indices: far above what an NV index
	// survives (10^6 writes), far below where int64 arithmetic could overflow.
	MaxSize = 1 << 40
	// MaxNote bounds an embedded approval, submission or policy note: the
	// entry that holds it is at most MaxEntry.
	MaxNote = 56 << 10
	// MaxOrder bounds an embedded administrators' order in bytes: a text of at
	// most 12 KiB and a signature line for each of 17 keys.
	MaxOrder = 16 << 10
	// MaxAttest bounds a TPMS_ATTEST in bytes: Names of at most 66 bytes, 64
	// bytes of extraData and 32 bytes of NV contents stay below 400.
	MaxAttest = 1 << 10
	// MaxSig bounds a TPMT_SIGNATURE in bytes: ECDSA P-256 needs 72.
	MaxSig = 1 << 10
	// MaxPublic bounds a TPMT_PUBLIC or a SubjectPublicKeyInfo in bytes:
	// RSA-4096 with its headers needs about 560.
	MaxPublic = 2 << 10
	// MaxCert bounds one attestation certificate or the OpenPGP certificate
	// in bytes: real ones are below 2 KiB.
	MaxCert = 8 << 10
	// MaxKeys bounds the keys of a log: with RSA-4096 one takes some 6 KiB of
	// the genesis entry, which has to hold the policy too.
	MaxKeys = 6
	// MaxSignature bounds one file signature in bytes: an OpenPGP packet by
	// RSA-4096 is below 700.
	MaxSignature = 2 << 10
	// MaxName bounds key names and version strings in bytes: they fit a display
	// line. Words of our own making are bounded by message.MaxToken.
	MaxName = 64
	// MaxPath bounds an inclusion path: log2(MaxSize).
	MaxPath = 40
	// MaxCheckpoint bounds a checkpoint note in bytes: three lines, an
	// Ed25519 line and a TPM line of about 500 characters.
	MaxCheckpoint = 8 << 10
	// MaxProof bounds a proof: one entry, a path and a checkpoint.
	MaxProof = MaxEntry + MaxCheckpoint + MaxPath*72 + 1<<10
)
