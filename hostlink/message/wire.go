package message

import (
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"touchmark/hostlink/message/canon"
)

// Domains of the session messages.
const (
	HelloDomain      = "touchmark/hello/v1"           // host to board, signed note
	SubmitDomain     = "touchmark/submit/v1"          // host to board
	CancelDomain     = "touchmark/cancel/v1"          // host to board, signed note
	RoundsDomain     = "touchmark/rounds/v1"          // host to board, signed note
	MirroredDomain   = "touchmark/mirrored/v1"        // host to board
	FetchDomain      = "touchmark/fetch/v1"           // either way
	OrderDomain      = "touchmark/order/v1"           // host to board
	ChallengeDomain  = "touchmark/challenge-text/v1"  // host to board
	WelcomeDomain    = "touchmark/welcome/v1"         // board to host
	EntriesDomain    = "touchmark/entries/v1"         // either way
	CheckpointDomain = "touchmark/checkpoint-note/v1" // board to host
	EventDomain      = "touchmark/event/v1"           // board to host
	RefusedDomain    = "touchmark/refused/v1"         // board to host
	DoneDomain       = "touchmark/done/v1"            // board to host
	AnswerDomain     = "touchmark/answer-text/v1"     // board to host
	OpenRoundDomain  = "touchmark/open-round/v1"      // board to host
)

// Parse reads one session message, strictly, and returns a pointer to one of
// *HelloNote, *Submit, *CancelNote, *RoundsNote, *Mirrored, *Fetch, *Order,
// *Challenge, *Welcome, *Entries, *Checkpoint, *Event, *Refused, *Done, *Answer,
// *OpenRound. Marshal of the result gives b.
// Signatures of notes are not verified here: the receiver opens them. The
// error is a *canon.Error or, for the form of a note, a *NoteError; CodeOf
// gives its refusal code.
func Parse(b []byte) (any, error) {
	if len(b) > MaxMessage {
		return nil, &canon.Error{Problem: canon.TooLong, Domain: anyMessage, Line: 1, Reason: "longer than 128 KiB"}
	}
	domain := canon.Domain(b)
	if parse, ok := parsers[domain]; ok {
		return parse(b)
	}
	return nil, &canon.Error{Problem: canon.OtherDomain, Domain: anyMessage, Line: 1, Reason: "unknown kind of message " + quote(domain)}
}

// anyMessage stands for the domain in errors that come before it is known.
const anyMessage = "message"

var parsers = map[string]func([]byte) (any, error){
	HelloDomain:      parseHelloNote,
	CancelDomain:     parseCancelNote,
	RoundsDomain:     parseRoundsNote,
	SubmitDomain:     plain(SubmitDomain, readSubmit),
	MirroredDomain:   plain(MirroredDomain, readMirrored),
	FetchDomain:      plain(FetchDomain, readFetch),
	OrderDomain:      plain(OrderDomain, readOrder),
	ChallengeDomain:  plain(ChallengeDomain, readChallenge),
	WelcomeDomain:    plain(WelcomeDomain, readWelcome),
	EntriesDomain:    plain(EntriesDomain, readEntries),
	CheckpointDomain: plain(CheckpointDomain, readCheckpoint),
	EventDomain:      plain(EventDomain, readEvent),
	RefusedDomain:    plain(RefusedDomain, readRefused),
	DoneDomain:       plain(DoneDomain, readDone),
	AnswerDomain:     plain(AnswerDomain, readAnswer),
	OpenRoundDomain:  plain(OpenRoundDomain, readOpenRound),
}

func plain[T any](domain string, read func(*canon.Reader) *T) func([]byte) (any, error) {
	return func(b []byte) (any, error) {
		m, err := whole(b, domain, read)
		if err != nil {
			return nil, err
		}
		return m, nil
	}
}

func whole[T any](b []byte, domain string, read func(*canon.Reader) *T) (*T, error) {
	r := canon.NewReader(b, domain)
	m := read(r)
	if err := r.Close(); err != nil {
		return nil, err
	}
	return m, nil
}

// Submit carries a job to the board. The wrapper is not signed: both notes
// are, and each content must give its item's approved digest.
type Submit struct {
	Approval   []byte    // note, at most MaxNote bytes
	Submission []byte    // note, at most MaxNote bytes
	Contents   []Content // one for each item, in order
}

// Content is what a host sends of an item: a hash state of what its format is
// over, or all of that. One of the two is nil.
type Content struct {
	State    []byte // appliance/sigformat/hashstate.State; at most MaxState bytes
	Document []byte // at most MaxDocument bytes
}

// Marshal encodes m, nil if a field has no canonical form.
func (m *Submit) Marshal() []byte {
	w := canon.NewWriter(SubmitDomain)
	w.Block("approval", m.Approval)
	w.Block("submission", m.Submission)
	WriteContents(w, m.Contents)
	return w.Bytes()
}

// WriteContents adds a line for each content.
func WriteContents(w *canon.Writer, contents []Content) {
	for _, c := range contents {
		if c.Document != nil {
			w.Line("document", canon.Base64(c.Document))
		} else {
			w.Line("state", canon.Base64(c.State))
		}
	}
}

// ReadContents consumes 1 to MaxItems such lines.
func ReadContents(r *canon.Reader) (contents []Content) {
	documents := 0
	for len(contents) == 0 || r.Peek() == "state" || r.Peek() == "document" {
		if len(contents) == MaxItems {
			r.Failf("more than %d states and documents", MaxItems)
			return nil
		}
		var c Content
		if r.Peek() == "document" {
			c.Document = r.Base64(r.Line("document", 1)[0], MaxDocument)
		} else {
			c.State = r.Base64(r.Line("state", 1)[0], MaxState)
		}
		if len(c.State)+len(c.Document) == 0 {
			r.Failf("a hash state or document is missing")
		}
		if documents += len(c.Document); documents > MaxDocuments {
			r.Failf("more than %d bytes of documents", MaxDocuments)
		}
		contents = append(contents, c)
	}
	return contents
}

func readSubmit(r *canon.Reader) *Submit {
	m := &Submit{Approval: r.Block("approval", MaxNote), Submission: r.Block("submission", MaxNote)}
	m.Contents = ReadContents(r)
	return m
}

// Mirrored acknowledges that the host keeps the leaves [0, Size) durably,
// pending ones included. Root is their RFC 6962 root.
type Mirrored struct {
	Size uint64
	Root [32]byte
}

// Marshal encodes m.
func (m *Mirrored) Marshal() []byte {
	w := canon.NewWriter(MirroredDomain)
	w.Line("size", canon.Uint(m.Size), canon.Hex(m.Root[:]))
	return w.Bytes()
}

func readMirrored(r *canon.Reader) *Mirrored {
	m := &Mirrored{}
	m.Size, m.Root = readHead(r, "size")
	return m
}

// Fetch asks for the log entries from index From on.
type Fetch struct{ From uint64 }

// Marshal encodes m.
func (m *Fetch) Marshal() []byte {
	w := canon.NewWriter(FetchDomain)
	w.Line("from", canon.Uint(m.From))
	return w.Bytes()
}

func readFetch(r *canon.Reader) *Fetch { return &Fetch{From: readUint(r, "from", MaxTreeSize)} }

// Board states of a Welcome; any other token is a passing state.
const (
	StateReady  = "ready"
	StateHalted = "halted"
)

// Welcome answers a Hello: who the board is and what its log is. Attest and
// Sig are an NV_Certify over HEAD whose extraData binds the hello's nonce
// (tpm/quote HelloTag); both are empty when none can be made.
type Welcome struct {
	Nonce       [16]byte // of the Hello
	Origin      string
	Firmware    string // the appliance's version, 1..MaxToken printable bytes
	Policy      [32]byte
	Time        time.Time // the board's clock, whole seconds
	State       string    // StateReady, StateHalted or another token
	Halt        string    // which halt state (anchor.md §5) if it is StateHalted, else ""
	Writes      uint64    // how often the TPM's memory of HEAD was written
	Days        int       // until it is worn out at the present rate, -1 when nobody can tell
	Total       uint64    // durable leaves, pending ones included
	Attest, Sig []byte
	Checkpoint  []byte // the committed checkpoint, a note; nil when the board has none
}

// Marshal encodes m, nil if a field has no canonical form.
func (m *Welcome) Marshal() []byte {
	w := canon.NewWriter(WelcomeDomain)
	w.Line("nonce", canon.Hex(m.Nonce[:]))
	w.Line("origin", m.Origin)
	w.Line("firmware", m.Firmware)
	w.Line("policy", canon.Hex(m.Policy[:]))
	w.Line("time", canon.Time(m.Time))
	w.Line("state", m.State)
	w.Line("halt", orDash(m.Halt))
	w.Line("wear", canon.Uint(m.Writes), daysText(m.Days))
	w.Line("total", canon.Uint(m.Total))
	w.Line("attest", canon.Base64(m.Attest), canon.Base64(m.Sig))
	if len(m.Checkpoint) > 0 {
		w.Block("checkpoint", m.Checkpoint)
	}
	return w.Bytes()
}

func readWelcome(r *canon.Reader) *Welcome {
	m := &Welcome{Nonce: [16]byte(r.Hex(r.Line("nonce", 1)[0], 16)), Origin: readOrigin(r)}
	m.Firmware = r.Line("firmware", 1)[0]
	if len(m.Firmware) > MaxToken {
		r.Failf("firmware of %d bytes, at most %d", len(m.Firmware), MaxToken)
	}
	m.Policy = [32]byte(r.Hex(r.Line("policy", 1)[0], 32))
	m.Time = r.Time(r.Line("time", 1)[0])
	m.State = readToken(r, "state")
	readHealth(r, m)
	m.Total = readUint(r, "total", MaxTreeSize)
	f := r.Line("attest", 2)
	m.Attest, m.Sig = r.Base64(f[0], MaxAttest), r.Base64(f[1], MaxAttestSig)
	if (len(m.Attest) == 0) != (len(m.Sig) == 0) {
		r.Failf("an attestation and its signature come together or not at all")
	}
	if r.Peek() == "checkpoint" {
		m.Checkpoint = r.Block("checkpoint", MaxCheckpoint)
	}
	return m
}

// readHealth reads why the board halted and how worn its TPM is.
func readHealth(r *canon.Reader, m *Welcome) {
	if f := r.Line("halt", 1)[0]; f != "-" {
		m.Halt = checkToken(r, f)
	}
	if (m.Halt != "") != (m.State == StateHalted) {
		r.Failf("halt and state disagree")
	}
	f := r.Line("wear", 2)
	m.Writes, m.Days = r.Uint(f[0], MaxTreeSize), -1
	if f[1] != "-" {
		m.Days = int(r.Uint(f[1], MaxDays))
	}
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func daysText(n int) string {
	if n < 0 {
		return "-"
	}
	return canon.Uint(uint64(n))
}

// Entries carries consecutive log entries; the host asks again until it has
// Total of them.
type Entries struct {
	Start   uint64
	Total   uint64   // durable leaves of the board
	Entries [][]byte // 1..MaxEntries, each at most MaxEntry bytes
}

// Marshal encodes m, nil if a field has no canonical form or it all exceeds
// MaxMessage.
func (m *Entries) Marshal() []byte {
	w := canon.NewWriter(EntriesDomain)
	w.Line("start", canon.Uint(m.Start))
	w.Line("total", canon.Uint(m.Total))
	for _, e := range m.Entries {
		w.Block("entry", e)
	}
	return w.Bytes()
}

// EntriesOverhead is what an Entries message takes besides its entries, at
// most, in bytes: for n entries whose lengths sum to s, Marshal gives at most
// EntriesOverhead + 12*n + s bytes.
const EntriesOverhead = len(EntriesDomain+"\n") + 2*len("start \n") + 2*20

func readEntries(r *canon.Reader) *Entries {
	m := &Entries{Start: readUint(r, "start", MaxTreeSize), Total: readUint(r, "total", MaxTreeSize)}
	for len(m.Entries) == 0 || r.Peek() == "entry" {
		if len(m.Entries) == MaxEntries {
			r.Failf("more than %d entries", MaxEntries)
		}
		m.Entries = append(m.Entries, r.Block("entry", MaxEntry))
	}
	if m.Total < m.Start || m.Total-m.Start < uint64(len(m.Entries)) {
		r.Failf("%d entries from %d do not fit a total of %d", len(m.Entries), m.Start, m.Total)
	}
	return m
}

// oneBlock encodes a message that only carries another text.
func oneBlock(domain, key string, text []byte) []byte {
	w := canon.NewWriter(domain)
	w.Block(key, text)
	return w.Bytes()
}

// Checkpoint carries a newly committed checkpoint.
type Checkpoint struct{ Note []byte }

// Marshal encodes m, nil if the note has no canonical form.
func (m *Checkpoint) Marshal() []byte {
	return oneBlock(CheckpointDomain, "note", m.Note)
}

func readCheckpoint(r *canon.Reader) *Checkpoint {
	return &Checkpoint{Note: r.Block("note", MaxCheckpoint)}
}

// Order brings the board a note that administrators signed: an order or a
// policy.
type Order struct{ Note []byte }

// Marshal encodes m, nil if the note has no canonical form.
func (m *Order) Marshal() []byte {
	return oneBlock(OrderDomain, "note", m.Note)
}

func readOrder(r *canon.Reader) *Order {
	return &Order{Note: r.Block("note", MaxOrderNote)}
}

// States of an Event. A host shows one it does not know as it stands.
const (
	EventQueued    = "queued"     // admitted, another job is on the display
	EventShown     = "shown"      // on the display, waiting to be armed
	EventArmed     = "armed"      // the operator agreed; it goes into the log and the TPM
	EventTouch     = "touch"      // the token waits for its touch
	EventTokenWait = "token-wait" // denied or cut short; the token is not free yet
	EventPINNeeded = "pin-needed" // the operator must type the PIN first
	EventPINWrong  = "pin-wrong"  // the PIN was wrong
)

// Event tells how a job goes. Whoever sits on the cable can forge it: it is a
// hint for a progress display and decides nothing.
type Event struct {
	Job     JobID
	State   string // one of the constants above, or another token
	Item    int    // 0-based index of the item concerned
	Seconds int    // seconds left for what State waits for, 0 if unknown
}

// Marshal encodes m, nil if a field has no canonical form.
func (m *Event) Marshal() []byte {
	w := canon.NewWriter(EventDomain)
	w.Line("job", m.Job.String())
	w.Line("state", m.State)
	w.Line("item", canon.Uint(uint64(max(m.Item, 0))))
	w.Line("seconds", canon.Uint(uint64(max(m.Seconds, 0))))
	return w.Bytes()
}

func readEvent(r *canon.Reader) *Event {
	m := &Event{Job: readJob(r, "job"), State: readToken(r, "state")}
	m.Item = int(readUint(r, "item", MaxItems-1))
	m.Seconds = int(readUint(r, "seconds", MaxSeconds))
	return m
}

// Refused says that the board did not take a message. Job is all zero when
// the message was neither a submission nor a challenge.
type Refused struct {
	Job  JobID  // or ChallengeID
	Code string // one of the Code constants
	Text string // one line for people: what is wrong and what to do
}

// Marshal encodes m. Text is cut to MaxHuman bytes and characters that are
// not printable become '?', because it goes to a terminal.
func (m *Refused) Marshal() []byte {
	w := canon.NewWriter(RefusedDomain)
	w.Line("job", m.Job.String())
	w.Line("code", m.Code)
	w.Line("text", canon.Base64([]byte(humanLine(m.Text))))
	return w.Bytes()
}

func readRefused(r *canon.Reader) *Refused {
	m := &Refused{Job: readJob(r, "job"), Code: readToken(r, "code")}
	m.Text = string(r.Base64(r.Line("text", 1)[0], MaxHuman))
	if humanLine(m.Text) != m.Text {
		r.Failf("the text is not one printable line")
	}
	return m
}

// humanLine is s with '?' for every character that is not printable (of Unicode
// 15.0, a test looks), cut to MaxHuman bytes.
func humanLine(s string) string {
	clean := strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) || c == utf8.RuneError {
			return '?'
		}
		return c
	}, s)
	for len(clean) > MaxHuman {
		_, n := utf8.DecodeLastRuneInString(clean)
		clean = clean[:len(clean)-n]
	}
	return clean
}

// Done says that a job has ended; its results are the log entries named here,
// which the host reads from its mirror.
type Done struct {
	Job     JobID
	Intent  uint64 // index of the intent entry
	Outcome uint64 // index of the outcome entry, after Intent
}

// Marshal encodes m.
func (m *Done) Marshal() []byte {
	w := canon.NewWriter(DoneDomain)
	w.Line("job", m.Job.String())
	w.Line("intent", canon.Uint(m.Intent))
	w.Line("outcome", canon.Uint(m.Outcome))
	return w.Bytes()
}

func readDone(r *canon.Reader) *Done {
	m := &Done{Job: readJob(r, "job")}
	m.Intent = readUint(r, "intent", MaxTreeSize)
	m.Outcome = readUint(r, "outcome", MaxTreeSize)
	if m.Outcome <= m.Intent {
		r.Failf("the outcome's index is not after the intent's")
	}
	return m
}
