package audit

// The codes of findings; docs/spec/audit.md explains each. Those of the TPM's
// replay (head-mismatch, pcr-mismatch, commit-order, boot-number,
// reset-unlogged, counter-backward, clock-backward, resets-unseen, pcr-unknown)
// are package anchor's.
const (
	// The log as a whole.
	CodeTrust       = "trust-mismatch"     // entry 0 is not the genesis that is pinned
	CodeUnparsable  = "entry-unparsable"   // an entry is not in its one encoding
	CodeMisnumbered = "entry-misnumbered"  // an entry's index is not its position
	CodeMisplaced   = "entry-misplaced"    // a genesis entry that is not the first, or none at all
	CodeTime        = "time-backward"      // an entry is older than the one before
	CodeAltered     = "entry-altered"      // the committed leaf hash is another one's
	CodeRoot        = "root-mismatch"      // the entries do not give the checkpoint's root
	CodeTiles       = "tiles-inconsistent" // published hashes do not follow from the entries
	CodeTruncated   = "log-truncated"      // fewer entries than the checkpoint covers
	CodeRolledBack  = "log-rolled-back"    // something newer than this log exists
	CodeForked      = "log-forked"         // something signed has another history
	CodeCheckpoint  = "checkpoint-invalid" // not signed by the log key and the TPM
	CodePendingGap  = "pending-gap"        // the pending leaves do not follow the log
	CodeStale       = "checkpoint-stale"   // a newer size was committed
	CodeFreshness   = "freshness-unproven" // a complete older copy would look the same

	// Genesis.
	CodeGenesis  = "genesis-invalid"   // its parts contradict each other
	CodeAK       = "ak-provenance"     // the AK's creation does not name this log and token
	CodeToken    = "token-attestation" // the token's attestation does not say what it must
	CodeEmulated = "token-emulated"    // the token is not a real one
	CodeEUCLEAK  = "token-eucleak"     // EC key on firmware below 5.7
	CodePolicy   = "policy-invalid"    // the genesis policy does not open

	// Attestations.
	CodeAttestation = "attestation-invalid" // an attestation does not verify
	CodeAhead       = "commit-ahead"        // a commit of leaves that are not in the log
	CodeUnrooted    = "commit-unknown"      // a commit too far back to be checked
	CodeMid         = "commit-mid"          // a commit that ends with neither genesis nor intent
	CodeNoBoot      = "boot-missing"        // an intent where a boot entry must stand before it
	CodeStretched   = "clock-stretched"     // the log's time and the TPM's clock run apart

	// Jobs.
	CodeUnauthentic  = "intent-unauthentic" // approval or submission do not verify
	CodeJob          = "job-mismatch"       // an entry names another job than its approval
	CodeRepeated     = "job-repeated"       // a job twice
	CodeSequence     = "intent-sequence"    // intents are not numbered 1, 2, 3, ...
	CodePolicyHash   = "policy-mismatch"    // an entry names another policy
	CodeKey          = "key-mismatch"       // an intent for another key
	CodeBreach       = "policy-breach"      // policy does not admit it
	CodeBurst        = "burst-possible"     // were all that HEAD took signed, a rate would be exceeded
	CodeHeadFork     = "submission-forked"  // the host committed to another history
	CodeDigests      = "intent-digests"     // sign lines do not fit the items
	CodeOutcome      = "outcome-mismatch"   // an outcome that fits no intent
	CodeSignature    = "signature-invalid"  // a signature is not what the intent announced
	CodeUncommitted  = "signed-uncommitted" // the token was asked before the commit
	CodeUnattested   = "commit-unattested"  // not yet to be told whether it was committed
	CodeNoOutcome    = "outcome-missing"    // an intent without an outcome
	CodeInFlight     = "intent-open"        // the newest intent has none yet
	CodeMaybeSigned  = "maybe-signed"       // signatures may exist that are not in the log
	CodeClockUnset   = "clock-unset"        // nobody confirmed the time
	CodeProof        = "proof-invalid"      // a proof given to the audit does not verify
	CodeOldInvalid   = "previous-invalid"   // an earlier checkpoint given does not verify
	CodeRefusedJobs  = "requests-refused"   // how many requests were refused
	CodeBootRecovery = "boot-recovered"     // starts that had something to recover
)
