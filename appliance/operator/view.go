// Package operator is what passes between the board and the person who touches
// the token: what that person sees, and the few things that person can say.
//
// The station describes the whole display as one View each time something
// changes; a Panel shows it and hands back Commands. Package screen lays a View
// out for a terminal and minds what may be armed; package panel has the panels:
// a full screen, lines of JSON, buttons and lamps. All of them, the demo and the
// tests are driven by the same Views, so nothing is visible on one and hidden
// on the other.
//
// Everything in a View was computed by the appliance, but for artifact names and
// what rounds wait, which are the host's claims and are marked so.
package operator

import (
	"time"

	"touchmark/hostlink/message"
)

// Ask is what the board wants of the operator now.
type Ask string

// What can be asked.
const (
	AskNothing    Ask = ""
	AskTime       Ask = "confirm-time" // is the time shown right?
	AskConfirm    Ask = "confirm"      // shall what the message says be done? It cannot be undone
	AskPIN        Ask = "pin"          // type the token's PIN
	AskArm        Ask = "arm"          // arm or deny the job or order shown
	AskUnmirrored Ask = "unmirrored"   // commit the order shown although no host holds it?
	AskTouch      Ask = "touch"        // touch the token now
	AskNoTouch    Ask = "do-not-touch" // leave it alone until it stops blinking
)

// What View.TPM says.
const (
	TPMStarting = "starting" // log and TPM are being brought into agreement
	TPMSilent   = "silent"   // it does not answer as it should
	TPMReady    = "ready"
	TPMOdds     = "at odds with the log"
	TPMUnknown  = "not asked" // the board has halted before it came to that
)

// View is the whole display. Event names what changed last ("update" for a
// change of no consequence); the words are listed in docs/operator-guide.md.
type View struct {
	Event      string    `json:"event"`
	Ask        Ask       `json:"ask,omitempty"`
	Origin     string    `json:"origin,omitempty"`
	Time       time.Time `json:"time"`
	Clock      string    `json:"clock,omitempty"`       // who vouches for Time, as the log's boot entries say it; empty: nobody yet
	LogTime    time.Time `json:"log_time"`              // of the newest entry of the log, zero if there is none
	Left       int       `json:"left,omitempty"`        // seconds until what is asked ends by itself, 0 if it does not
	Emulated   bool      `json:"emulated"`              // the token or TPM is not the real thing
	Token      string    `json:"token"`                 // missing, wrong, pin-needed or ready
	Device     string    `json:"device,omitempty"`      // which token it is, in words
	TPM        string    `json:"tpm"`                   // one of the words above
	LogSize    uint64    `json:"log_size"`              // leaves, those not committed yet included
	Sealed     uint64    `json:"committed"`             // leaves that HEAD has committed
	Head       string    `json:"head,omitempty"`        // HEAD in the TPM as the board knows it, hex
	Scrub      string    `json:"log_check"`             // how far reading the whole log since the start has come, or what it found
	Host       string    `json:"host"`                  // link state: down, up, or the name the host proved
	Queue      int       `json:"queue"`                 // jobs waiting behind the one shown
	Waiting    []Waiting `json:"waiting,omitempty"`     // what they are, in order
	Recent     []Ended   `json:"recent,omitempty"`      // what came of the requests before, newest first
	Rounds     []Round   `json:"rounds,omitempty"`      // what waits on the host, in its words
	MoreRounds int       `json:"more_rounds,omitempty"` // how many it does not tell one by one, in its words
	Job        *Job      `json:"job,omitempty"`
	Order      *Order    `json:"order,omitempty"`   // never beside a job
	Alarm      string    `json:"alarm,omitempty"`   // the message begins with it: not to be wiped off by what comes next
	Message    string    `json:"message,omitempty"` // one line for the operator: what happened, what to do
	State      string    `json:"state"`             // ready, halted, or what it is busy with, as hosts are told
	Halt       string    `json:"halt,omitempty"`    // the halt state (docs/spec/anchor.md §5)
	Halted     string    `json:"halted,omitempty"`  // why the board refuses to go on, and what to do
	Warning    string    `json:"warning,omitempty"` // what does not stop the board and must not be forgotten
	Writes     uint64    `json:"nv_writes"`         // how often the TPM's memory was written
	Days       int       `json:"nv_days"`           // until that may be worn out at the present rate, -1 when nobody can tell
}

// TimeQuestion is what an operator is asked who shall confirm the board's time (AskTime).
const TimeQuestion = "Is the time above right? It goes into every signature."

// Job is the one request on display.
type Job struct {
	ID        string   `json:"id"` // SHA-256 of the approval text, hex
	Class     string   `json:"class"`
	Key       string   `json:"key"`
	Host      string   `json:"host"`
	Approvers []string `json:"approvers"`
	Items     []Item   `json:"items"`
	Rate      string   `json:"rate,omitempty"` // what remains of the class's rate
	State     string   `json:"state"`          // the ceremony's phase
	Touch     int      `json:"touch"`          // from 1: which touch is awaited, 0 when none
}

// Item is one artifact of a job.
type Item struct {
	Claimed string   `json:"claimed"` // the artifact's name: the host's claim
	Format  string   `json:"format"`
	Digest  string   `json:"digest"`            // of the artifact, algorithm:hex
	Size    uint64   `json:"size"`              // bytes, proved by the hash state
	Meaning []string `json:"meaning,omitempty"` // of a document that came with the request, in lines
	Outcome string   `json:"outcome,omitempty"`
}

// Waiting is a request behind the one on display.
type Waiting struct {
	ID    string `json:"id"` // as Job.ID
	Class string `json:"class"`
	Host  string `json:"host"`
	Items int    `json:"items"`
}

// Round is what the host says of one of its rules under which files wait for a
// signature: its claims, all of it. They come on display as a request when a round
// of the rule is open.
type Round struct {
	Rule  string    `json:"rule"`
	Files int       `json:"files"` // without a signature
	State string    `json:"state"` // RoundAsked, or as message.Round has it
	Since time.Time `json:"since"`
	Next  time.Time `json:"next,omitzero"` // a round opens by the host's schedule
}

// RoundAsked is the state of a round that the host was asked to open, until it
// says what became of that.
const RoundAsked = message.RoundAsked

// Ended is what came of a request.
type Ended struct {
	ID    string    `json:"id"` // as Job.ID
	Time  time.Time `json:"time"`
	Class string    `json:"class"`
	Host  string    `json:"host"`
	Items int       `json:"items"`
	End   string    `json:"end"` // in words
}

// Order is what administrators order the board to do, on display to be armed or
// denied. Every line was computed by the appliance from signed text.
type Order struct {
	ID         string   `json:"id"`   // SHA-256 of its text, hex
	Kind       string   `json:"kind"` // of its entry in the log
	Lines      []string `json:"lines"`
	State      string   `json:"state"`      // shown, mirroring or committing; of a cert order, the ceremony's phase
	Unmirrored bool     `json:"unmirrored"` // no host would hold it before the TPM does
}

// Over reports that the ceremony has ended and is still on display.
func (j *Job) Over() bool {
	return j.State == "released" || j.State == "refused" || j.State == "halted"
}

// Subject is the identity of the job or order on display, empty if there is none.
func (v *View) Subject() string {
	switch {
	case v.Order != nil:
		return v.Order.ID
	case v.Job != nil:
		return v.Job.ID
	}
	return ""
}
