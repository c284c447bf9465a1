// Package chain keeps the log and the TPM in agreement: where HEAD and the PCR
// stand as the log explains them, how a commit moves them, and what a start
// concludes and mends.
// The rules are docs/spec/anchor.md, section 4; what a state means is decided in
// package recovery.
//
// Everything is called from the goroutine that owns the Chain, but for
// ExtendHead, ExtendPCR, Attestation and Certified, which a goroutine that serves
// the TPM may call while the owner does nothing with the chain.
package chain

import (
	"fmt"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/past"
	"touchmark/tpm/anchor"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// TPM is what the chain needs of the TPM; tpm/device implements it.
type TPM interface {
	Head() ([32]byte, error)
	PCR() ([32]byte, error)
	ExtendHead(x [32]byte) error
	ExtendPCR(x [32]byte) error
	CertifyHead(extra [32]byte) (quote.Attestation, error)
	QuotePCR(extra [32]byte) (quote.Attestation, error)
}

// Config is what a chain is made of.
type Config struct {
	Store   past.Log
	TPM     TPM
	Key     func(public string) (note.Signer, error) // finds the private half of a log key
	Genesis []byte                                   // see past.Config
	Log     zerolog.Logger

	Measured func() ledger.Measured // what was booted, for boot entries; nil where nobody knows
}

// State is where HEAD and the PCR stand.
type State struct {
	Size uint64 // leaves that HEAD has committed
	Plan anchor.Plan
	Head [32]byte
	PCR  [32]byte
}

// Chain is the log on a TPM.
type Chain struct {
	State
	Past       *past.Past
	Checkpoint []byte // newest signed one
	Dirty      bool   // a TPM command failed: start again before the next commit

	cfg Config
	key note.Signer // the log key in force
}

// New makes the chain of a log, yet to be loaded.
func New(cfg Config) *Chain {
	if cfg.Measured == nil {
		cfg.Measured = func() ledger.Measured { return ledger.Measured{} }
	}
	return &Chain{cfg: cfg, Past: past.New(past.Config{Store: cfg.Store, Genesis: cfg.Genesis, Log: cfg.Log})}
}

// Load reads the past. It does not touch the TPM.
func (c *Chain) Load(now time.Time) error {
	if err := c.Past.Load(now); err != nil {
		return fault.Unreadable(err)
	}
	if err := c.checkKey(); err != nil {
		return err
	}
	if err := c.lastCheckpoint(); err != nil {
		return fault.Unreadable(err)
	}
	return nil
}

// obey makes the administrators' entries the law.
func (c *Chain) obey() error {
	if err := c.Past.Obey(); err != nil {
		return fault.Unreadable(err)
	}
	return c.checkKey()
}

// checkKey takes the log key that the log names to sign with.
func (c *Chain) checkKey() error {
	key, err := c.cfg.Key(c.Past.LogKey)
	if err != nil {
		return fault.Halted(recovery.LogKeyWrong, err)
	}
	c.key = key
	return nil
}

// lastCheckpoint signs the newest commit that the log has an attestation of,
// so that a board that halts can still say what it is.
func (c *Chain) lastCheckpoint() error {
	if c.Past.Attest == nil {
		return nil
	}
	for p, err := range c.cfg.Store.PlansBackward() {
		if err != nil {
			return err
		}
		if p.Size == c.Past.Attest.Size {
			c.Plan = p
			return c.Sign(c.Past.Attest)
		}
	}
	return nil
}

// Unsigned is the checkpoint of the newest commit before it has its signatures.
// Nothing in it changes any more: any goroutine may sign it.
type Unsigned struct {
	body  []byte
	prev  [32]byte
	key   note.Signer
	trust anchor.Trust
}

// Unsigned makes the checkpoint of the newest commit. Only sizes that HEAD has
// committed are ever signed.
func (c *Chain) Unsigned() (*Unsigned, error) {
	root, err := c.cfg.Store.Root(c.Plan.Size)
	if err != nil {
		return nil, fault.Unreadable(err)
	}
	return &Unsigned{ledger.CheckpointBody(c.Past.Trust.Origin, c.Plan.Size, root), c.Plan.Prev, c.key, c.Past.InForce()}, nil
}

// Sign signs it with the log key and the commit's NV_Certify, which it verifies; facts are
// what that says.
func (u *Unsigned) Sign(certify quote.Attestation) (note []byte, facts quote.NVFacts, err error) {
	note, cp, err := anchor.SignCheckpoint(u.body, u.key, u.trust, u.prev, certify)
	if err != nil {
		return nil, facts, fmt.Errorf("signing the checkpoint: %w", err)
	}
	return note, cp.Facts, nil
}

// Sign makes the signed checkpoint of the newest commit from its attestation.
func (c *Chain) Sign(a *ledger.Attest) error {
	u, err := c.Unsigned()
	if err != nil {
		return err
	}
	note, _, err := u.Sign(a.Certify)
	if err != nil {
		return err
	}
	c.Checkpoint = note
	return nil
}

// Append makes entries durable, with the commit that is planned for the last
// of them, and takes them into account. An error leaves the store refusing
// further appends: the board must halt.
func (c *Chain) Append(plan *anchor.Plan, entries ...Entry) error {
	raws := make([][]byte, len(entries))
	for i, e := range entries {
		raws[i] = e.Raw
	}
	if err := c.cfg.Store.Append(raws, plan); err != nil {
		return fault.Halted(recovery.LogUnwritable, err)
	}
	for _, e := range entries {
		if err := c.Past.Add(e.Header, e.Body); err != nil {
			return err
		}
	}
	return nil
}

// Entry is a log entry about to be appended.
type Entry struct {
	Header ledger.Header
	Body   any
	Raw    []byte
}

// Entries encodes bodies as the next entries of the log, all at one time.
func (c *Chain) Entries(at time.Time, bodies ...any) ([]Entry, error) {
	next := c.cfg.Store.Size()
	out := make([]Entry, len(bodies))
	for i, b := range bodies {
		h := ledger.Header{Index: next + uint64(i), Time: at}
		raw, err := ledger.Marshal(h, b)
		if err != nil {
			return nil, err
		}
		out[i] = Entry{h, b, raw}
	}
	return out, nil
}

// AppendNow encodes and appends entries at a time.
func (c *Chain) AppendNow(now time.Time, bodies ...any) error {
	entries, err := c.Entries(now, bodies...)
	if err != nil {
		return err
	}
	return c.Append(nil, entries...)
}

// Planned computes the commit that the given entries would end in.
func (c *Chain) Planned(entries []Entry) (*anchor.Plan, error) {
	raws := make([][]byte, len(entries))
	for i, e := range entries {
		raws[i] = e.Raw
	}
	root, err := c.cfg.Store.RootWith(raws)
	if err != nil {
		return nil, err
	}
	size := c.cfg.Store.Size() + uint64(len(entries))
	x := ledger.X(ledger.CheckpointBody(c.Past.Trust.Origin, size, root))
	return &anchor.Plan{Size: size, X: x, Prev: c.Head}, nil
}
