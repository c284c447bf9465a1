// Package api is the conversation between touchmark and touchmark-hostd over
// a unix socket: JSON objects, one a line.
//
// The client sends a Request. The daemon answers with any number of Responses
// that carry an Event, an Entry or nothing yet, and one that is Final. While a
// sign request runs, the client may send {"op":"cancel"}; closing the
// connection means the same. The socket's permissions decide who may ask.
//
// A sign request carries a random key. From the event "accepted" on its job is
// kept on disk: when the connection ends without a final answer, the daemon was
// stopped or killed, and the same request to the next one goes on with the same
// job. A client that has used its final answer says {"op":"taken"}, and the job
// is forgotten; until then OpJobs lists it and OpFetch gives the answer again.
package api

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger/find"
)

// Operations.
const (
	OpSign      = "sign"
	OpMay       = "may" // what the policy has against files that are not hashed yet: Items have name, format and size
	OpCancel    = "cancel"
	OpTaken     = "taken" // the final answer of sign or fetch is no longer needed
	OpFetch     = "fetch" // wait for a job that was asked for before
	OpJobs      = "jobs"
	OpStatus    = "status"
	OpLog       = "log"
	OpWatch     = "watch"     // status, jobs and committed entries, whenever something changes
	OpOrder     = "order"     // hand the appliance a note of the administrators
	OpChallenge = "challenge" // have the appliance answer an auditor's challenge
	OpApproval  = "approval"  // the note of a job, for approvers to sign
	OpApprove   = "approve"   // add an approver's note to a job
	OpWithdraw  = "withdraw"  // end a job that waits for approvals
	OpPublish   = "publish"   // bring the published log up to date and wait for it
	OpRound     = "round"     // rounds of [[watch]] rules: Action says what
)

// Actions of OpRound.
const (
	RoundList   = "list"
	RoundOpen   = "open"   // open a round of the rules now
	RoundUrgent = "urgent" // the same, in their urgent class
	RoundWait   = "wait"   // wait until what the one rule has staged is published
)

// Exit codes of touchmark, and the Code of a final Response.
const (
	OK          = 0
	Internal    = 1   // a defect, or an error no other code describes
	Usage       = 2   // wrong arguments
	BadInput    = 3   // an input file is missing, unreadable, empty, a directory, changing
	NoDaemon    = 4   // touchmark-hostd is not running
	LinkDown    = 5   // no conversation with the appliance
	Refused     = 6   // the policy, or the appliance, refuses
	Denied      = 7   // the operator refuses
	TimedOut    = 8   // nobody armed or touched in time
	DeviceFault = 9   // token, TPM or appliance failure; nothing was signed
	Evidence    = 10  // a signature, proof or log does not verify
	MaySigned   = 11  // a signature may exist that we do not have
	CannotWrite = 12  // the result cannot be written
	Lapsing     = 13  // something that was signed lapses soon, or has lapsed
	Interrupted = 130 // Ctrl-C before anything was signed
)

// MaxLine bounds a line of the conversation: 16 items with proofs fit.
const MaxLine = 4 << 20

// Item is one file to sign: without its bytes, or with all that its format is
// over, if that is a document.
type Item struct {
	Name   string `json:"name"`
	Format string `json:"format"`
	Digest string `json:"digest"` // "sha256:…"
	Size   uint64 `json:"size"`

	State    []byte `json:"state,omitempty"`    // hashstate.State.Bytes; or
	Document []byte `json:"document,omitempty"` // at most message.MaxDocument bytes
}

// Request asks for one operation.
type Request struct {
	Op      string `json:"op"`
	Class   string `json:"class,omitempty"`      // sign: "" means the policy's only match
	Timeout int64  `json:"timeout_ms,omitempty"` // sign
	Partly  bool   `json:"partly,omitempty"`     // sign: if it fails, what was signed before that is wanted all the same
	Park    bool   `json:"park,omitempty"`       // sign: only if it must be approved first, and has not been
	Key     []byte `json:"key,omitempty"`        // sign: KeySize random bytes, the same when the request is repeated
	Job     string `json:"job,omitempty"`        // fetch, approval, withdraw
	Note    []byte `json:"note,omitempty"`       // order, approve

	// Decision has an order wait until it has effect or is refused, instead of until the appliance has it.
	Decision bool `json:"decision,omitempty"`

	Action string   `json:"action,omitempty"` // round
	Rules  []string `json:"rules,omitempty"`  // round: none are all

	Text  []byte `json:"text,omitempty"`  // challenge
	Items []Item `json:"items,omitempty"` // sign
	From  uint64 `json:"from,omitempty"`  // log: first index; watch: likewise, 0 for what is to come
	Count uint64 `json:"count,omitempty"` // log: how many, 0 for all
	Last  uint64 `json:"last,omitempty"`  // log: the last so many, instead of From

	Find *find.Query `json:"find,omitempty"` // log: only these, of that range
}

// KeySize is the length of a request's key in bytes.
const KeySize = 16

// Wait is the timeout of a sign request.
func (r *Request) Wait() time.Duration { return time.Duration(r.Timeout) * time.Millisecond }

// Response is one line of answer. Final ones end the request.
type Response struct {
	Final bool   `json:"final,omitempty"`
	OK    bool   `json:"ok"`
	Code  int    `json:"code"`
	Error string `json:"error,omitempty"` // one line: what is wrong and what to do

	Event *Event `json:"event,omitempty"` // progress, a hint
	Entry *Entry `json:"entry,omitempty"` // log

	Job        string   `json:"job,omitempty"`
	Earlier    bool     `json:"earlier,omitempty"`    // sign: the result of an earlier request for the same
	Signatures [][]byte `json:"signatures,omitempty"` // sign: one per item; if not OK, for those who ask Partly, null where there is none
	Proofs     [][]byte `json:"proofs,omitempty"`     // sign: likewise
	Answer     []byte   `json:"answer,omitempty"`     // challenge: for the auditor to judge
	Order      *Order   `json:"order,omitempty"`      // order
	Approval   []byte   `json:"approval,omitempty"`   // approval, approve: the note with the signatures it has
	Persons    []string `json:"persons,omitempty"`    // approval, approve: who approved
	Need       int      `json:"need,omitempty"`       // approval, approve: how many must
	Added      []string `json:"added,omitempty"`      // approve: who had not before
	Status     *Status  `json:"status,omitempty"`
	Jobs       []Job    `json:"jobs,omitempty"`   // jobs
	Rounds     []Round  `json:"rounds,omitempty"` // round
}

// Order is what became of an order that the appliance has.
type Order struct {
	State string `json:"state"`           // OrderInForce, or the state of the appliance's event
	Entry uint64 `json:"entry,omitempty"` // index in the log, if it is in force
}

// OrderInForce is the state of an order that has effect: the verified log says so.
const OrderInForce = "in-force"

// EventAccepted says that the job is kept on disk: it ends with a signature or
// a word why not, whoever is restarted.
const EventAccepted = "accepted"

// EventApprovals says that the job waits for approvals; its text, how many it
// has.
const EventApprovals = "approvals"

// StateApproved is that of a job which enough people approved, and which is not
// with the appliance: touchmark sign, or fetch, takes it up.
const StateApproved = "approved"

// Job is a job that the daemon keeps. Times are RFC 3339.
type Job struct {
	Job      string   `json:"job"`
	State    string   `json:"state"` // a state of Event while it is open; approved, committed, signed or ended
	Class    string   `json:"class"`
	Names    []string `json:"names"`
	Created  string   `json:"created"`
	Deadline string   `json:"deadline"`        // end of its client's patience
	Waiting  int      `json:"waiting"`         // clients
	Persons  []string `json:"persons"`         // who approved
	Need     int      `json:"need"`            // how many must
	Code     int      `json:"code"`            // ended: the exit code
	Error    string   `json:"error,omitempty"` // ended: why there is no signature
}

// Round is what is known of a [[watch]] rule. Times are RFC 3339, "" for none.
type Round struct {
	Rule      string   `json:"rule"`
	Class     string   `json:"class"`
	Dir       string   `json:"dir"`       // where repository tools work
	Into      string   `json:"into"`      // what is published
	Always    bool     `json:"always"`    // rounds do not close
	Open      bool     `json:"open"`      // what waits may be put before the operator
	Urgent    bool     `json:"urgent"`    // the open round is urgent
	Until     string   `json:"until"`     // the open round closes
	Next      string   `json:"next"`      // one opens by the schedule
	Published uint64   `json:"published"` // number of the snapshot, 0 for none
	Snapshot  uint64   `json:"snapshot"`  // that waits, 0 for none
	Waiting   string   `json:"waiting"`   // since when something waits
	Unsigned  []string `json:"unsigned"`  // its files that have no signature yet
	Missed    uint64   `json:"missed"`    // rounds in a row without one
	Why       string   `json:"why"`       // there is none
	Alarm     string   `json:"alarm"`     // what is wrong
	Stale     bool     `json:"stale"`     // that is that a change has waited for too long
}

// Event tells how a job goes. The appliance's word is not verified.
type Event struct {
	State   string `json:"state"` // waiting-for-link, accepted, queued, shown, armed, touch, …
	Job     string `json:"job,omitempty"`
	Item    int    `json:"item"`
	Seconds int    `json:"seconds,omitempty"`
	Text    string `json:"text,omitempty"`
}

// Entry is a log entry as it stands in the mirror.
type Entry struct {
	Index     uint64 `json:"index"`
	Committed bool   `json:"committed"` // covered by the verified checkpoint
	Text      []byte `json:"text"`
}

// Status is what the daemon knows. Times are RFC 3339.
type Status struct {
	Origin    string   `json:"origin"`
	Host      string   `json:"host"` // name of the host key
	Link      string   `json:"link"` // "up", "down: …", "verifying"
	Device    string   `json:"device"`
	Board     string   `json:"board,omitempty"` // the appliance's state
	Halt      string   `json:"halt,omitempty"`  // its halt state (docs/spec/anchor.md §5)
	Writes    uint64   `json:"nv_writes"`       // how often its TPM's memory was written
	Days      int      `json:"nv_days"`         // until that may be worn out, -1 when nobody can tell
	Firmware  string   `json:"firmware,omitempty"`
	BoardTime string   `json:"board_time,omitempty"`
	Age       int      `json:"age"`       // seconds since the appliance proved what is said of it here
	Verified  bool     `json:"verified"`  // this session's attestation of HEAD was checked
	Committed uint64   `json:"committed"` // entries under the verified checkpoint
	Mirrored  uint64   `json:"mirrored"`  // entries held, pending ones included
	Published uint64   `json:"published"` // size of the published checkpoint
	Evidence  string   `json:"evidence,omitempty"`
	Refuses   string   `json:"refuses,omitempty"` // why no request is taken, whatever the link does
	Code      int      `json:"code"`              // and the exit code that one would get
	Jobs      []string `json:"jobs"`              // running and waiting
	Certs     []string `json:"certs"`             // fingerprints
	Standing  []string `json:"standing"`          // of each: until when it is valid, that it expired or was revoked; empty if it just is good
	Emulated  bool     `json:"emulated"`
}

// Lines reads and writes the conversation.
type Lines struct {
	r *bufio.Reader
	w io.Writer
}

// NewLines wraps a connection.
func NewLines(rw io.ReadWriter) *Lines {
	return &Lines{r: bufio.NewReaderSize(rw, 4<<10), w: rw}
}

// Write sends one value as a line.
func (l *Lines) Write(v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = l.w.Write(append(b, '\n'))
	return err
}

// ErrLine reports a line that is too long or not the expected JSON.
var ErrLine = errors.New("malformed line on the socket")

// Read takes one line into v; unknown fields are ignored, so that a newer
// side may say more. io.EOF is returned as it is.
func (l *Lines) Read(v any) error {
	var line []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if len(line)+len(part) > MaxLine {
			return fmt.Errorf("%w: longer than %d bytes", ErrLine, MaxLine)
		}
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
	if err := json.Unmarshal(line, v); err != nil {
		return fmt.Errorf("%w: %v", ErrLine, err)
	}
	return nil
}

// CodeFor maps a refusal of the appliance to an exit code.
func CodeFor(refusal string) int {
	switch refusal {
	case message.CodeDenied:
		return Denied
	case message.CodeArmTimeout, message.CodeExpired:
		return TimedOut
	case message.CodeHalted, message.CodeBusy, message.CodeTooMany, message.CodeInternal:
		return DeviceFault
	case message.CodeNoHello:
		return LinkDown
	case message.CodeForkedHead, message.CodeUnknownHead:
		return Evidence
	case message.CodeCancelled:
		return Interrupted
	case message.CodeBadMessage, message.CodeUnknownMessage, message.CodeWrongApproval, message.CodeBadState, message.CodeStateMismatch:
		return Internal
	}
	return Refused
}
