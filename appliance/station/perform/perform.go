// Package perform carries out what a ceremony asks for, on the log, the TPM, the
// token and the line to the host, and gives it their answers. In which order that
// is, and what a failure leads to, is decided in package ceremony.
//
// A Ceremony is owned by the station's loop.
package perform

import (
	"errors"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/sigformat/signing"
	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/line"
	"touchmark/appliance/station/loop"
	"touchmark/appliance/station/past"
	"touchmark/appliance/station/token"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

// Board is what ceremonies are carried out on. Its functions are called in the loop.
type Board struct {
	Loop          loop.Loop
	TPM           *loop.Worker
	Chain         *chain.Chain
	Token         *token.Keeper
	Line          *line.Line
	Log           zerolog.Logger
	Now           func() time.Time // the board's clock
	MirrorTimeout time.Duration    // how long the host has to say that it holds an intent

	Kept func()                   // the intent is in the log
	Push func()                   // sends the host what it lacks of the log
	Show func(event, text string) // to the operator
	Over func(ceremony.Effect)    // Release, Refuse or Halt: the ceremony under way is over
}

// Subject is what a ceremony is about.
type Subject struct {
	ID      message.JobID // of the job, or order
	Items   int
	Ordered bool // administrators ordered it: the intent, an order, is no job's
	Alone   bool // the operator agreed that no host holds it
}

// Fixed is what a ceremony commits to, once it is armed.
type Fixed struct {
	Key    *past.Key
	Plans  []*signing.Plan // of each item
	Intent chain.Entry
	Commit chain.Commit
}

// Ceremony is one under way.
type Ceremony struct {
	Subject
	Fixed
	board   *Board
	machine *ceremony.Machine
	timer   *time.Timer // arm or mirror time-out
	until   time.Time   // while shown or touching: when that ends by itself

	attest     *ledger.Attest
	checkpoint <-chan []byte // brings that of the commit, nil before the attestation
	proven     bool          // it is the chain's
	told       uint64        // the session in which the host was told of it
}

// New begins a ceremony.
func New(b *Board, about Subject) *Ceremony {
	return &Ceremony{Subject: about, board: b, machine: ceremony.New(about.Items)}
}

// Machine says how far the ceremony is. It is not to be stepped but by Step.
func (c *Ceremony) Machine() *ceremony.Machine { return c.machine }

// Until is when what the operator sees, the job or that the token waits, ends by itself.
func (c *Ceremony) Until() time.Time { return c.until }

// Committed reports whether HEAD took the ceremony's commit.
func (c *Ceremony) Committed() bool { return c.board.Chain.Size >= c.Commit.Plan.Size }

// Attested reports whether that was attested.
func (c *Ceremony) Attested() bool { return c.attest != nil }

// Limit withdraws a ceremony that is not armed in time.
func (c *Ceremony) Limit(d time.Duration) {
	c.until = time.Now().Add(d)
	c.timer = c.board.Loop.After(d, func() {
		c.Step(ceremony.Withdraw{Code: message.CodeArmTimeout, Text: "nobody armed it in time"})
	})
}

// Arm is the operator's consent to what is fixed.
func (c *Ceremony) Arm() {
	if c.timer != nil {
		c.timer.Stop()
	}
	c.Step(ceremony.Arm{})
}

// Mirrored says that the host holds the first leaves of the log.
func (c *Ceremony) Mirrored(size uint64) {
	if c.machine.Phase() == ceremony.Mirroring && size >= c.Commit.Plan.Size {
		c.Step(ceremony.Mirrored{})
	}
}

// Step feeds the ceremony and carries out what it asks for. One that is over takes
// nothing any more.
func (c *Ceremony) Step(e ceremony.Event) {
	for _, effect := range c.machine.Step(e) {
		c.perform(effect)
	}
}

// perform carries out one effect.
func (c *Ceremony) perform(effect ceremony.Effect) {
	switch e := effect.(type) {
	case ceremony.AppendIntent:
		c.appendIntent()
	case ceremony.AwaitMirror:
		c.awaitMirror()
		if c.Ordered { // of a job the intent tells
			c.Tell()
		}
	case ceremony.ExtendHead:
		c.timer.Stop()
		c.extendHead()
	case ceremony.ExtendPCR:
		c.extendPCR()
	case ceremony.Attest:
		c.attestCommit()
	case ceremony.Sign:
		c.sign(e.Item)
		c.Tell()
		c.board.Show("touch", "")
	case ceremony.DoNotTouch:
		c.Tell()
		c.board.Show("do-not-touch", "Denied. The token is still armed for some seconds: DO NOT TOUCH it.")
	case ceremony.Record:
		c.record(e)
	case ceremony.Refuse:
		c.timer.Stop()
		c.board.Over(e)
	default:
		c.board.Over(e)
	}
}

// appendIntent makes the intent durable, before any host sees it: one that held what the
// board then lost could accuse an honest board of two histories.
func (c *Ceremony) appendIntent() {
	err := c.board.Chain.Append(&c.Commit.Plan, c.Intent)
	if err == nil {
		c.board.Kept()
	}
	c.Step(ceremony.Appended{Err: err})
	if c.machine.Phase() == ceremony.Mirroring {
		c.board.Show("armed", "") // while the host writes
	}
}

// awaitMirror sends the new leaves and waits, bounded, for the host to say
// that they are safe.
func (c *Ceremony) awaitMirror() {
	c.timer = c.board.Loop.After(c.board.MirrorTimeout, func() { c.Step(ceremony.Unmirrored{}) })
	if c.Alone {
		c.Step(ceremony.Mirrored{})
		return
	}
	c.board.Push()
}

// extendHead has the TPM's worker run NV_Extend.
func (c *Ceremony) extendHead() {
	m := c.Commit
	c.board.TPM.Do(func() func() {
		applied, err := c.board.Chain.ExtendHead(m)
		return func() { c.headExtended(applied, err) }
	})
}

func (c *Ceremony) headExtended(applied bool, err error) {
	switch {
	case applied:
		c.board.Chain.TookHead(c.Commit)
		c.Step(ceremony.HeadExtended{})
	case errors.Is(err, chain.ErrUnexplained):
		c.Step(ceremony.Lost{Err: err})
	default:
		c.board.Log.Error().Err(err).Msg("NV_Extend")
		c.Step(ceremony.HeadExtended{Err: err})
	}
}

// extendPCR has it run PCR_Extend. If it did not take, the chain owes the PCR
// this commit; a start pays before the next one.
func (c *Ceremony) extendPCR() {
	m := c.Commit
	c.board.TPM.Do(func() func() {
		applied, err := c.board.Chain.ExtendPCR(m)
		return func() { c.pcrExtended(applied, err) }
	})
}

func (c *Ceremony) pcrExtended(applied bool, err error) {
	switch {
	case applied:
		c.board.Chain.TookPCR(c.Commit)
		c.Step(ceremony.PCRExtended{})
	case errors.Is(err, chain.ErrUnexplained):
		c.Step(ceremony.Lost{Err: err})
	default:
		c.board.Log.Error().Err(err).Msg("PCR_Extend")
		c.board.Chain.Dirty = true
		c.Step(ceremony.PCRExtended{Err: err})
	}
}

// attestCommit makes both attestations of the commit beside the touch.
func (c *Ceremony) attestCommit() {
	m := c.Commit
	unsigned, told := c.signCheckpoint()
	c.board.TPM.Do(func() func() {
		a, err := c.board.Chain.Attestation(m, unsigned, told)
		return func() {
			if err != nil {
				c.board.Log.Error().Err(err).Msg("attestation")
				c.board.Chain.Dirty = true
			}
			c.attest = a
			c.Step(ceremony.Attested{Err: err})
		}
	})
}

// sign has the token sign one item.
func (c *Ceremony) sign(item int) {
	c.until = time.Now().Add(token.TouchWindow)
	log := c.board.Log.With().Str("job", c.ID.String()).Int("item", item).Logger()
	c.board.Token.Sign(c.Plans[item], c.Key, log, func(sig []byte, err error) {
		c.Step(ceremony.TokenAnswered{Signature: sig, Err: err})
	})
}

// record appends the attestation and the outcome in one durable write.
func (c *Ceremony) record(e ceremony.Record) {
	c.timer.Stop()
	outcome := &ledger.Outcome{Intent: c.Intent.Header.Index, Job: c.ID, Items: e.Items}
	bodies := []any{outcome}
	if e.Attested {
		bodies = []any{c.attest, outcome}
	}
	c.Step(ceremony.Recorded{Err: c.board.Chain.AppendNow(c.board.Now(), bodies...)})
}
