// Package ceremony is the order of one signing: from a request that policy
// admitted to signatures that may leave the board.
//
//	admitted → shown → armed → committed → touched → signed → recorded → released
//
// It is a pure state machine. Step takes one Event and answers the Effects
// that the caller must carry out, each of which comes back as an Event. The
// machine holds no clock, no device and no goroutine, so every order of
// answers, failures and button presses can be enumerated in a test.
//
// Guarantees, whatever the order of events:
//
//   - The token is asked to sign only after the intent is durable on the
//     board, durable in the host's mirror, and taken by HEAD and the PCR.
//   - After the token was asked, nothing is released before its outcome is
//     durable and the commit is attested.
//   - Every ceremony whose intent was appended ends in exactly one recorded
//     outcome or in a halt.
//   - A denial is never too late to keep a signature in: what still comes back
//     from the token after it is recorded as withheld, by its hash only.
package ceremony

import (
	"crypto/sha256"
	"errors"

	"touchmark/tpm/ledger"
)

// Phase is how far a ceremony has come.
type Phase int

// The phases, in the order in which a good ceremony passes through them.
const (
	Shown      Phase = iota // on the display, waiting for arm or deny
	Appending               // armed; the intent is being made durable here
	Mirroring               // waiting until the host's mirror holds it too
	Extending               // NV_Extend of HEAD under way
	Extending2              // PCR_Extend under way
	Touching                // the token has an APDU and waits for a touch
	Settling                // the token is done; the attestation is not
	Recording               // the outcome is being made durable
	Released                // over: the outcome is recorded
	Refused                 // over: nothing was appended
	Halted                  // over: the board must not go on by itself
)

var phaseNames = [...]string{"shown", "appending", "mirroring", "extending", "extending-pcr",
	"touching", "settling", "recording", "released", "refused", "halted"}

func (p Phase) String() string { return phaseNames[p] }

// Over reports whether the ceremony takes no further events.
func (p Phase) Over() bool { return p >= Released }

// Event is what happened: a button, or the answer to an Effect.
type Event interface{ event() }

type (
	// Arm is the operator's local consent; without it nothing is committed.
	Arm struct{}
	// Deny is the operator's refusal, at any moment.
	Deny struct{}
	// Withdraw ends a ceremony that is not armed yet: the host cancelled it, or
	// nobody armed it in time. Afterwards it has no effect.
	Withdraw struct{ Code, Text string }
	// Appended answers AppendIntent.
	Appended struct{ Err error }
	// Mirrored says the host's mirror holds the intent durably.
	Mirrored struct{}
	// Unmirrored says it did not in time.
	Unmirrored struct{}
	// HeadExtended answers ExtendHead. Err means that HEAD was read back
	// afterwards and had *not* taken the extension; if that could not be
	// established, send Lost instead.
	HeadExtended struct{ Err error }
	// PCRExtended answers ExtendPCR, under the same rule.
	PCRExtended struct{ Err error }
	// Attested answers Attest: both attestations were made and verified.
	Attested struct{ Err error }
	// TokenAnswered answers Sign. Signature is the finished signature.
	TokenAnswered struct {
		Signature []byte
		Err       error
	}
	// Recorded answers Record.
	Recorded struct{ Err error }
	// Lost says that a device is in a state that cannot be told; the board
	// must halt and recover from what is on disk.
	Lost struct{ Err error }
)

func (Arm) event()           {}
func (Deny) event()          {}
func (Withdraw) event()      {}
func (Appended) event()      {}
func (Mirrored) event()      {}
func (Unmirrored) event()    {}
func (HeadExtended) event()  {}
func (PCRExtended) event()   {}
func (Attested) event()      {}
func (TokenAnswered) event() {}
func (Recorded) event()      {}
func (Lost) event()          {}

// Effect is what the caller must do next.
type Effect interface{ effect() }

type (
	// AppendIntent makes the intent durable in the log, with its planned commit.
	AppendIntent struct{}
	// AwaitMirror sends the new leaves to the host and waits for its
	// acknowledgement, bounded in time.
	AwaitMirror struct{}
	// ExtendHead extends HEAD by x_n.
	ExtendHead struct{}
	// ExtendPCR extends the boot chain's PCR by x_n.
	ExtendPCR struct{}
	// Attest makes NV_Certify and Quote over x_n and verifies both.
	Attest struct{}
	// Sign hands the token the digest of an item and waits for the touch.
	Sign struct{ Item int }
	// DoNotTouch tells the operator that the token is still armed but the
	// ceremony is denied.
	DoNotTouch struct{}
	// Record appends the attestation (if there is one) and the outcome.
	Record struct {
		Items    []ledger.ItemResult
		Attested bool
	}
	// Release sends the recorded outcome, and with it the signatures.
	Release struct{ Items []ledger.ItemResult }
	// Refuse answers the host that nothing was done, and why.
	Refuse struct{ Code, Text string }
	// Halt stops the board until recovery explains the state.
	Halt struct{ Err error }
)

func (AppendIntent) effect() {}
func (AwaitMirror) effect()  {}
func (ExtendHead) effect()   {}
func (ExtendPCR) effect()    {}
func (Attest) effect()       {}
func (Sign) effect()         {}
func (DoNotTouch) effect()   {}
func (Record) effect()       {}
func (Release) effect()      {}
func (Refuse) effect()       {}
func (Halt) effect()         {}

// Errors that the token's answer is sorted by; anything else is a failure of
// the token.
var (
	ErrTouchTimeout = errors.New("the token was not touched in time")
	ErrRemoved      = errors.New("the token was removed")
	ErrPIN          = errors.New("the token asks for its PIN again")
)

// reason gives the ledger's word for a token error.
func reason(err error) string {
	switch {
	case errors.Is(err, ErrRemoved):
		return "token-removed"
	case errors.Is(err, ErrPIN):
		return "pin-required"
	}
	return "token-error"
}

// Machine is one ceremony. Its fields are owned by the caller's goroutine.
type Machine struct {
	phase    Phase
	items    []ledger.ItemResult
	current  int  // the item the token has, while Touching
	denied   bool // the operator refused after arming
	attested bool // both attestations are there
	attErr   error
}

// New begins a ceremony of n ≥ 1 items that policy has admitted and that the
// display shows.
func New(n int) *Machine { return &Machine{items: make([]ledger.ItemResult, n)} }

// Phase tells how far it has come.
func (m *Machine) Phase() Phase { return m.phase }

// Current is the item (from 0) that the token is asked to sign.
func (m *Machine) Current() int { return m.current }

// Denied reports that the operator refused after arming.
func (m *Machine) Denied() bool { return m.denied }

// Step takes one event and answers what to do now. An event that has no
// meaning in the present phase (a late cancel, a second arm) does nothing.
func (m *Machine) Step(e Event) []Effect {
	if m.phase.Over() {
		return nil
	}
	switch e := e.(type) {
	case Lost:
		return m.halt(e.Err)
	case Deny:
		return m.deny()
	case Attested:
		return m.attestation(e.Err)
	}
	switch m.phase {
	case Shown:
		return m.shown(e)
	case Appending, Mirroring:
		return m.keeping(e)
	case Extending, Extending2:
		return m.committing(e)
	case Touching:
		return m.touching(e)
	case Recording:
		return m.recording(e)
	}
	return nil
}

func (m *Machine) halt(err error) []Effect {
	m.wipe()
	m.phase = Halted
	return []Effect{Halt{err}}
}

// deny handles the deny button. Before the APDU it ends the ceremony at the
// next safe step; after it the token cannot be called back, so the operator
// is told not to touch and the answer is withheld.
func (m *Machine) deny() []Effect {
	switch m.phase {
	case Shown:
		m.phase = Refused
		return []Effect{Refuse{"denied", "the operator denied it"}}
	case Mirroring:
		m.denied = true
		return m.endAll(ledger.Denied, "")
	case Touching:
		if m.denied {
			return nil
		}
		m.denied = true
		return []Effect{DoNotTouch{}}
	}
	m.denied = true
	return nil
}

func (m *Machine) shown(e Event) []Effect {
	switch e := e.(type) {
	case Arm:
		m.phase = Appending
		return []Effect{AppendIntent{}}
	case Withdraw:
		m.phase = Refused
		return []Effect{Refuse(e)}
	}
	return nil
}

// keeping covers the two steps that make the intent durable on both sides.
func (m *Machine) keeping(e Event) []Effect {
	switch e := e.(type) {
	case Appended:
		switch {
		case m.phase != Appending:
			return nil
		case e.Err != nil:
			return m.halt(e.Err)
		case m.denied:
			return m.endAll(ledger.Denied, "")
		}
		m.phase = Mirroring
		return []Effect{AwaitMirror{}}
	case Mirrored:
		if m.phase == Mirroring {
			m.phase = Extending
			return []Effect{ExtendHead{}}
		}
	case Unmirrored:
		if m.phase == Mirroring {
			return m.endAll(ledger.NotStarted, "not-mirrored")
		}
	}
	return nil
}

// committing covers NV_Extend and PCR_Extend. NV_Extend comes first because it
// is the one that may fail for reasons of its own (wear, rate); a PCR that is
// one behind HEAD can always be caught up, one ahead never.
func (m *Machine) committing(e Event) []Effect {
	switch e := e.(type) {
	case HeadExtended:
		if m.phase != Extending {
			return nil
		}
		if e.Err != nil {
			return m.endAll(ledger.NotStarted, "tpm-error")
		}
		m.phase = Extending2
		return []Effect{ExtendPCR{}}
	case PCRExtended:
		if m.phase != Extending2 {
			return nil
		}
		if e.Err != nil {
			return m.endAll(ledger.NotStarted, "tpm-error")
		}
		return m.committed()
	}
	return nil
}

// committed is the point of no return: HEAD has the intent for ever. The
// attestation is asked for in any case, so that each commit has its proof.
func (m *Machine) committed() []Effect {
	if m.denied {
		m.fill(0, ledger.ItemResult{State: ledger.Denied})
		m.phase = Settling
		return []Effect{Attest{}}
	}
	m.phase = Touching
	return []Effect{Attest{}, Sign{0}} // the TPM begins before the operator is shown what to touch
}

func (m *Machine) touching(e Event) []Effect {
	a, ok := e.(TokenAnswered)
	if !ok {
		return nil
	}
	m.items[m.current] = m.judge(a)
	next := m.current + 1
	switch {
	case m.denied:
		m.fill(next, ledger.ItemResult{State: ledger.Denied})
	case a.Err != nil:
		m.fill(next, ledger.ItemResult{State: ledger.NotStarted, Reason: "batch-stopped"})
	case next < len(m.items):
		m.current = next
		return []Effect{Sign{next}}
	}
	return m.settle()
}

// judge sorts the token's answer for one item.
func (m *Machine) judge(a TokenAnswered) ledger.ItemResult {
	switch {
	case a.Err == nil && m.denied:
		return withhold(a.Signature)
	case a.Err == nil:
		return ledger.ItemResult{State: ledger.Signed, Signature: a.Signature}
	case errors.Is(a.Err, ErrTouchTimeout) && m.denied:
		return ledger.ItemResult{State: ledger.Denied}
	case errors.Is(a.Err, ErrTouchTimeout):
		return ledger.ItemResult{State: ledger.TimedOut}
	}
	return ledger.ItemResult{State: ledger.Failed, Reason: reason(a.Err)}
}

// withhold keeps the hash of a signature and zeroes the signature itself.
func withhold(sig []byte) ledger.ItemResult {
	o := ledger.ItemResult{State: ledger.Withheld, Hash: sha256.Sum256(sig)}
	clear(sig)
	return o
}

// attestation takes the answer to Attest, which runs beside the touch.
func (m *Machine) attestation(err error) []Effect {
	if m.phase != Touching && m.phase != Settling {
		return nil
	}
	m.attested, m.attErr = err == nil, err
	if m.phase == Settling {
		return m.settle()
	}
	return nil
}

// settle goes on to the record once the attestation is there. Without it no
// host could prove its signature, so signatures are withheld: the intent is
// committed, the operator can be asked again.
func (m *Machine) settle() []Effect {
	if !m.attested && m.attErr == nil {
		m.phase = Settling
		return nil
	}
	if m.attErr != nil || m.denied {
		m.withholdAll()
	}
	return m.record()
}

func (m *Machine) withholdAll() {
	for i, o := range m.items {
		if o.State == ledger.Signed {
			m.items[i] = withhold(o.Signature)
		}
	}
}

// endAll gives every item the same end and records it.
func (m *Machine) endAll(state ledger.State, why string) []Effect {
	m.fill(0, ledger.ItemResult{State: state, Reason: why})
	return m.record()
}

func (m *Machine) fill(from int, o ledger.ItemResult) {
	for i := from; i < len(m.items); i++ {
		m.items[i] = o
	}
}

func (m *Machine) record() []Effect {
	m.phase = Recording
	return []Effect{Record{Items: m.items, Attested: m.attested}}
}

func (m *Machine) recording(e Event) []Effect {
	r, ok := e.(Recorded)
	switch {
	case !ok:
		return nil
	case r.Err != nil:
		return m.halt(r.Err)
	}
	m.phase = Released
	return []Effect{Release{m.items}}
}

// wipe zeroes signatures that must not leave the board.
func (m *Machine) wipe() {
	for i := range m.items {
		clear(m.items[i].Signature)
		m.items[i].Signature = nil
	}
}
