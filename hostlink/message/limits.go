package message

// Bounds of every text and message. All of them hold for the parser, so a
// hostile peer cannot make the other side keep or compute more.
const (
	// MaxMessage is the largest session message (hostlink/session).
	MaxMessage = 128 << 10
	// MaxItems bounds a batch: what one operator can look at before arming.
	MaxItems = 16
	// MaxName bounds an artifact name: it fits a display and any file system.
	MaxName = 200
	// MaxOrigin bounds an origin: with "#" and a job it is a notation value
	// in every signature, and it names keys.
	MaxOrigin = 128
	// MaxToken bounds a short word: class, state, code, firmware.
	MaxToken = 64
	// MaxItemSize is the largest byte count of an item: hash states count
	// bytes, hashes count bits in 64, and the margin keeps padding out of
	// reach (< 2^61 - 4096).
	MaxItemSize = 1<<61 - 4096 - 1
	// MaxRounds bounds the rounds that a host announces one by one: what a person
	// at a display chooses from.
	MaxRounds = 16
	// MaxCount bounds a count that only people read.
	MaxCount = 999_999
	// MaxDays bounds a number of days: what is more than two thousand years
	// away is never.
	MaxDays = 999_999
	// MaxTreeSize bounds sizes and indices of the log: they fit an int64,
	// as golang.org/x/mod/sumdb/tlog wants them.
	MaxTreeSize = 1<<63 - 1
	// MaxText bounds an approval or submission text: 16 items of the longest
	// kind are under 7 KiB.
	MaxText = 8 << 10
	// MaxNote bounds a signed note on the link: a text and MaxSignatures
	// signature lines.
	MaxNote = 16 << 10
	// MaxSignatures bounds the signature lines of one note, so that opening
	// one costs a bounded number of verifications.
	MaxSignatures = 32
	// MaxKeyName bounds the name in a note key.
	MaxKeyName = 128
	// MaxState bounds one hash state: SHA-512 has 64 bytes of chaining
	// value, an 8 byte count and at most 127 bytes of tail.
	MaxState = 64 + 8 + 127
	// MaxDocument bounds a document: what a person can page through before
	// arming, and its base64 fits a line of canonical text.
	MaxDocument = 32 << 10
	// MaxDocuments bounds those of one submit together: with both notes at
	// their largest and a state for every other item they fit one message
	// (MaxMessage), and take the line 8 seconds at 115200 baud.
	MaxDocuments = 64 << 10
	// MaxEntries bounds the log entries of one Entries message.
	MaxEntries = 64
	// MaxEntry bounds a log entry: tlog-tiles writes its length in 16 bits,
	// and an entry must fit a message.
	MaxEntry = 60 << 10
	// MaxAttest and MaxAttestSig bound a TPMS_ATTEST and a TPMT_SIGNATURE as
	// tpm.md section 7 does (tpm/quote; a test compares them): an NV_Certify of
	// 32 bytes is about 170 bytes, a P-256 signature 72.
	MaxAttest, MaxAttestSig = 512, 128
	// MaxCheckpoint bounds a checkpoint note with its TPM line.
	MaxCheckpoint = 8 << 10
	// MaxOrderNote bounds a note of the administrators: a policy fills an entry.
	MaxOrderNote = 56 << 10
	// MaxChallenge bounds an auditor's challenge and its answer, which holds a
	// checkpoint note, as audit.md section 6 does.
	MaxChallenge = 16 << 10
	// MaxHuman bounds a line meant for people, in bytes.
	MaxHuman = 600
	// MaxSeconds bounds a countdown in an event: a day.
	MaxSeconds = 86400
)
