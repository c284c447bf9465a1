package message

import (
	"errors"

	"touchmark/hostlink/message/canon"
)

// Refusal codes: stable words that programs branch on, in Refused messages
// and in policy refusals.
const (
	CodeBadMessage       = "bad-message"       // not a well-formed message
	CodeUnknownMessage   = "unknown-message"   // a kind or version of message that this board does not know
	CodeBadSignature     = "bad-signature"     // a note's signature is missing or wrong
	CodeSurplusSignature = "surplus-signature" // a note is signed twice by one key, or by more hosts than one
	CodeUnknownHost      = "unknown-host"      // the policy knows no such host key
	CodeUnknownApprover  = "unknown-approver"  // the policy knows no such approver key; hosts' are none
	CodeSamePerson       = "same-person"       // one person approves with two keys
	CodeWrongApproval    = "wrong-approval"    // the submission is for another approval
	CodeWrongOrigin      = "wrong-origin"      // meant for another appliance
	CodeUnknownClass     = "unknown-class"     // the policy has no such class
	CodeHostForbidden    = "host-forbidden"    // this host may not use this class
	CodeNameForbidden    = "name-forbidden"    // the artifact's name matches no pattern of the class
	CodeFormatForbidden  = "format-forbidden"  // the class does not allow this signature format
	CodeHashForbidden    = "hash-forbidden"    // no key of the class signs over this hash
	CodeTooLarge         = "too-large"         // the artifact is larger than the class allows
	CodeBatchTooLarge    = "batch-too-large"   // more items than the class allows at once
	CodeRateExceeded     = "rate-exceeded"     // a rate window is used up
	CodeApprovalsMissing = "approvals-missing" // fewer approving persons than the class demands
	CodeExpired          = "expired"           // not-after has passed
	CodeNotAfterTooFar   = "not-after-too-far" // not-after is later than the policy allows
	CodeClockSkew        = "clock-skew"        // host and board disagree about the time
	CodeUnknownHead      = "unknown-head"      // the host's head is beyond the board's log
	CodeForkedHead       = "forked-head"       // the host's head contradicts the board's log
	CodeKeyMissing       = "key-missing"       // the log has none of the keys that the class names: administrators must order one
	CodeKeyRevoked       = "key-revoked"       // the key was revoked: it signs nothing any more
	CodeKeyExpired       = "key-expired"       // the key's certificate has expired: administrators must renew it first
	CodeStaleHead        = "stale-head"        // the host's head is too old: it must fetch the log first
	CodeBadState         = "bad-state"         // not a hash state, or not one thing for each item
	CodeStateMismatch    = "state-mismatch"    // a hash state or document does not give the approved digest
	CodeDocumentMissing  = "document-missing"  // a hash state where the format is over a document that must be shown
	CodeBadDocument      = "bad-document"      // a document that its format does not take, or that does not say one thing only
	CodeBusy             = "busy"              // the board cannot just now: ask again later
	CodeHalted           = "halted"            // the board signs nothing until it is looked after
	CodeInForce          = "in-force"          // an order that has effect already
	CodeDenied           = "denied"            // the operator said no
	CodeCancelled        = "cancelled"         // the host withdrew it
	CodeStaleCancel      = "stale-cancel"      // a cancellation older than the submission it names
	CodeArmTimeout       = "arm-timeout"       // nobody armed it in time
	CodeNoHello          = "no-hello"          // the conversation must start with a hello
	CodeTooMany          = "too-many"          // too many requests; slow down
	CodeInternal         = "internal"          // the board failed at it, nothing was signed
)

// CodeOf gives the refusal code for an error of Parse.
func CodeOf(err error) string {
	var e *canon.Error
	if errors.As(err, &e) && e.Domain == anyMessage && e.Problem == canon.OtherDomain {
		return CodeUnknownMessage
	}
	return CodeBadMessage
}
