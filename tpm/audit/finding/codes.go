package finding

// The codes of findings; docs/spec/audit.md explains each. Those of the TPM's
// replay (head-mismatch, pcr-mismatch, commit-order, boot-number,
// reset-unlogged, counter-backward, clock-backward, resets-unseen, pcr-unknown)
// are package anchor's.
const (
	// The log as a whole.
	Trust       = "trust-mismatch"     // entry 0 is not the genesis that is pinned
	Unparsable  = "entry-unparsable"   // an entry is not in its one encoding
	Misnumbered = "entry-misnumbered"  // an entry's index is not its position
	Misplaced   = "entry-misplaced"    // a genesis entry that is not the first, or none at all
	Time        = "time-backward"      // an entry is older than the one before
	Altered     = "entry-altered"      // the committed leaf hash is another one's
	Root        = "root-mismatch"      // the entries do not give the checkpoint's root
	Tiles       = "tiles-inconsistent" // published hashes do not follow from the entries
	Truncated   = "log-truncated"      // fewer entries than the checkpoint covers
	RolledBack  = "log-rolled-back"    // something newer than this log exists
	Forked      = "log-forked"         // something signed has another history
	Checkpoint  = "checkpoint-invalid" // not signed by the log key and the TPM
	PendingGap  = "pending-gap"        // the pending leaves do not follow the log
	Stale       = "checkpoint-stale"   // a newer size was committed
	FreshAt     = "fresh-at"           // an answer to a challenge says that this was the newest state
	Answer      = "answer-invalid"     // an answer does not verify
	Unplaced    = "answer-unplaced"    // an answer is of another stretch of the log than the one read
	Freshness   = "freshness-unproven" // a complete older copy would look the same

	// Genesis.
	Genesis  = "genesis-invalid"   // its parts contradict each other
	AK       = "ak-provenance"     // the AK's creation does not name this log and token
	Token    = "token-attestation" // the token's attestation does not say what it must
	Emulated = "token-emulated"    // the token is not a real one
	EUCLEAK  = "token-eucleak"     // EC key on firmware below 5.7
	Policy   = "policy-invalid"    // the genesis policy does not open

	// Attestations.
	Attestation = "attestation-invalid" // an attestation does not verify
	Ahead       = "commit-ahead"        // a commit of leaves that are not in the log
	Unrooted    = "commit-unknown"      // a commit too far back to be checked
	Mid         = "commit-mid"          // a commit that ends with neither genesis nor intent
	NoBoot      = "boot-missing"        // an intent where a boot entry must stand before it
	Stretched   = "clock-stretched"     // the log's time and the TPM's clock run apart

	// Jobs.
	Unauthentic   = "intent-unauthentic"   // approval or submission do not verify
	Job           = "job-mismatch"         // an entry names another job than its approval
	Repeated      = "job-repeated"         // a job twice
	Sequence      = "intent-sequence"      // intents are not numbered 1, 2, 3, ...
	PolicyHash    = "policy-mismatch"      // an entry names another policy
	Key           = "key-mismatch"         // an intent for another key
	Breach        = "policy-breach"        // policy does not admit it
	Burst         = "burst-possible"       // were all that HEAD took signed, a rate would be exceeded
	HeadFork      = "submission-forked"    // the host committed to another history
	HeadUnchecked = "submission-unchecked" // the host committed to a size too far back to be compared
	JobsForgotten = "jobs-forgotten"       // more jobs at once than an audit remembers
	Digests       = "intent-digests"       // sign lines do not fit the items
	Outcome       = "outcome-mismatch"     // an outcome that fits no intent
	Signature     = "signature-invalid"    // a signature is not what the intent announced
	Uncommitted   = "signed-uncommitted"   // the token was asked before the commit
	Unattested    = "commit-unattested"    // not yet to be told whether it was committed
	NoOutcome     = "outcome-missing"      // an intent without an outcome
	InFlight      = "intent-open"          // the newest intent has none yet
	MaybeSigned   = "maybe-signed"         // signatures may exist that are not in the log
	ClockUnset    = "clock-unset"          // nobody confirmed the time
	Proof         = "proof-invalid"        // a proof given to the audit does not verify
	OldInvalid    = "previous-invalid"     // an earlier checkpoint given does not verify
	RefusedJobs   = "requests-refused"     // how many requests were refused
	BootRecovery  = "boot-recovered"       // starts that had something to recover
	BootForeign   = "boot-foreign"         // a start says that something was booted which no given build published
	BootUnknown   = "boot-unmeasured"      // a start does not say all of what was booted

	// Administrative entries, updates, wear.
	OrderInvalid   = "order-invalid"          // an administrative entry that the administrators in force did not sign so
	OrderForked    = "order-forked"           // they ordered it on another history
	OrderUnchecked = "order-unchecked"        // on a size too far back to be compared
	OrderChain     = "order-chain"            // an entry names another administrative entry as the newest
	OrderRepeated  = "order-repeated"         // one order took effect twice
	OrderTaken     = "order-taken"            // an administrative entry took effect
	OrderVoid      = "order-void"             // HEAD did not take it
	OrderOpen      = "order-open"             // not known yet whether HEAD took it
	Unmirrored     = "order-unmirrored"       // committed without a host
	Recovered      = "recovery-used"          // recovery keys replaced the administrators
	TimeCorrected  = "time-corrected"         // administrators set the clock
	Cert           = "cert-mismatch"          // what a cert entry has the token sign is not what was ordered
	Renewed        = "certificate-renewed"    // the key certified itself with another expiry
	Bound          = "certificate-bound"      // the key agreed to be a subkey of another
	Revoked        = "certificate-revoked"    // the key revoked itself
	KeyRevoked     = "key-revoked"            // an intent after that
	KeyExpired     = "key-expired"            // an intent after the certificate's expiry
	Closed         = "log-closed"             // administrators ended the log
	Firmware       = "firmware-mismatch"      // another firmware starts than the log says
	Updated        = "firmware-updated"       // another firmware starts, and the log says so
	LogKey         = "log-key-mismatch"       // a checkpoint is signed by a log key that was replaced, or not yet
	TrustOutdated  = "trust-outdated"         // the pinned trust does not know a key that administrators ordered
	Wear           = "nv-wear"                // how often HEAD was written
	Predecessor    = "predecessor-named"      // the log goes on from another one
	Continuity     = "continuity-broken"      // two logs contradict each other about who follows whom
	Unconfirmed    = "continuity-unconfirmed" // the earlier log does not say that it ended
	Continued      = "continuity-proven"      // both logs say who follows whom
)
