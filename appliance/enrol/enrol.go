// Package enrol is the key ceremony: it binds a token, a TPM and a policy into
// a new log.
//
// Order: everything that can be refused is refused first; then the token makes
// its key and, by a touch, its OpenPGP certificate; then the TPM makes its
// attestation key, bound to the token's attestation; HEAD, which can never be
// removed, comes after that and only when the operator confirms it; the
// genesis entry, with all of it, is the first commit; the authorizations of the
// TPM's hierarchies are set; what auditors must pin is written last.
//
// Guarantees: what was done is written down durably before the next thing is
// begun (package progress), so a ceremony that ended anywhere — power, an error, the
// operator — goes on where it was when it is begun again with the same inputs.
// It makes nothing twice that it can find again, takes nothing that it did not
// make, and undoes nothing that others may have seen. Every step and value goes
// into a transcript that those present can sign.
package enrol

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"filippo.io/age"

	"touchmark/appliance/enrol/logkey"
	"touchmark/appliance/enrol/progress"
	"touchmark/appliance/enrol/stopped"
	"touchmark/appliance/enrol/transcript"
	"touchmark/appliance/operator"
	"touchmark/appliance/piv"
	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/anchor"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
)

// Config is what a ceremony is made of.
type Config struct {
	Dir         string    // the board's data directory: log/, log.key
	TrustDir    string    // written at the end, for auditors and hosts
	Transcript  string    // file that tells the whole ceremony; "" for none
	PolicyNote  []byte    // signed by its administrators
	UserID      string    // of the OpenPGP certificate: "Name <mail>"
	Expires     time.Time // of it, whole seconds; zero: never
	Nonce       [32]byte
	SetPIN      bool            // the operator sets the token's PIN and PUK
	Replace     bool            // destroy a key that is in the token's slot
	Revocations *Revocations    // revocation certificates, kept by the auditors; nil makes none
	Manage      *Management     // new management keys of the tokens, kept by the administrators; nil leaves them
	Backup      []age.Recipient // who keep an encrypted copy of the log key; nobody if empty
	Auths       *Authorizations // of the TPM's hierarchies, kept by the administrators; nil: they are not set
	Predecessor *anchor.Trust   // of the log that this one goes on from; nil for none
	SameHead    bool            // go on from the HEAD of the predecessor, after TPM2_Clear
	Throwaway   bool            // emulators and development hardware are good enough; nothing is asked
	TPM         *device.TPM
	Token       *piv.Token
	BackupToken *piv.Token // makes BackupKeys, in slots of its own; nil for none
	BackupKeys  []string   // names of the policy's keys
	Panel       operator.Panel
	Now         time.Time // whole seconds
}

var (
	// ErrEnrolled refuses to enrol over a log that exists.
	ErrEnrolled = errors.New("already enrolled")
	// ErrThrowaway refuses to make what looks like a real log on a token or a
	// TPM whose keys can be copied.
	ErrThrowaway = errors.New("its keys can be copied: what it signs proves nothing; for tests say --throwaway")
	// ErrInputs refuses to go on with another ceremony's inputs.
	ErrInputs = errors.New("a ceremony with other inputs was begun here: give the same ones, or begin anew with another --dir")
)

// ceremony carries what the steps hand on.
type ceremony struct {
	Config
	state  *progress.State
	policy *policy.Policy
	keys   []*key // as the policy has them
	log    *logkey.Key
	trust  *anchor.Trust
	words  *transcript.Transcript
	hook   func() error // tests: before and after each durable step

	managed []byte // the tokens' management key, nil for the factory's
}

// Run performs the ceremony, or the rest of one, and answers what is to be
// pinned.
func Run(ctx context.Context, cfg Config) (*anchor.Trust, error) {
	return (&ceremony{Config: cfg}).run(ctx)
}

func (c *ceremony) run(ctx context.Context) (*anchor.Trust, error) {
	if err := c.steps(ctx); err != nil {
		return nil, errors.Join(err, c.words.Stop(err))
	}
	if err := c.words.Finish(); err != nil {
		return nil, fmt.Errorf("transcript: %w", err)
	}
	if err := c.state.Done(c.Dir); err != nil {
		return nil, err
	}
	c.say("enrolled", "Enrolled. "+c.fingerprints()+" Write down what stands here; give the trust directory to hosts and auditors.")
	return c.trust, nil
}

// fingerprints are what everybody compares later with what was written down at the board.
func (c *ceremony) fingerprints() string {
	var each []string
	for _, k := range c.keys {
		each = append(each, fmt.Sprintf("Fingerprint of %s: %X.", k.Name, k.pgp.Fingerprint()))
	}
	return strings.Join(each, " ")
}

func (c *ceremony) steps(ctx context.Context) error {
	for _, step := range []struct {
		what string
		do   func(context.Context) error
	}{
		{"policy", c.readPolicy},
		{"user id", c.checkUserID},
		{"data directory", c.begin},
		{"trust directory", c.checkTrustDir},
		{"TPM", c.checkTPM},
		{"token's PIN and PUK", c.setSecrets},
		{"token's keys", c.makeKeys},
		{"token's management key", c.setManagementKeys},
		{"certificates", c.certify},
		{"revocation certificates", c.revocations},
		{"log key", c.makeLogKey},
		{"log key's backup", c.backUp},
		{"TPM's endorsement key", c.readEK},
		{"TPM's attestation key", c.makeAK},
		{"HEAD", c.makeHead},
		{"image counter", c.makeFloor},
		{"genesis", c.commit},
		{"TPM's authorizations", c.setAuths},
		{"trust", c.writeTrust},
	} {
		c.say("enrol", "Enrolling: "+step.what+" ...")
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.what, err)
		}
		if err := c.interrupt(); err != nil {
			return err
		}
		if err := c.words.Flush(); err != nil {
			return fmt.Errorf("transcript: %w", err)
		}
	}
	return nil
}

// say shows a line to the operator, asking nothing.
func (c *ceremony) say(event, text string) { c.ask(event, operator.AskNothing, text) }

func (c *ceremony) ask(event string, a operator.Ask, text string) {
	v := operator.View{Event: event, Ask: a, Time: c.Now, Message: text, Emulated: c.emulated(), Host: "-", Token: "enrolling"}
	if c.policy != nil {
		v.Origin = c.policy.Origin
	}
	c.Panel.Show(v)
}

// confirm has the operator say yes to what cannot be undone. A throwaway needs
// no yes.
func (c *ceremony) confirm(ctx context.Context, text string) error {
	if c.Throwaway {
		c.words.Add("not asked   %s", text)
		return nil
	}
	c.ask("confirm", operator.AskConfirm, text)
	for {
		cmd, err := c.command(ctx)
		if err != nil {
			return err
		}
		if cmd.Verb == operator.Confirm {
			c.words.Add("CONFIRMED   %s", text)
			return nil
		}
	}
}

// command waits for the operator's next word.
func (c *ceremony) command(ctx context.Context) (operator.Command, error) {
	select {
	case <-ctx.Done():
		return operator.Command{}, ctx.Err()
	case cmd, ok := <-c.Panel.Commands():
		if !ok || cmd.Verb == operator.Quit {
			return cmd, errors.New("the operator left")
		}
		return cmd, nil
	}
}

func (c *ceremony) readPolicy(context.Context) (err error) {
	if c.policy, err = policy.Open(c.PolicyNote); err != nil {
		return err
	}
	if n := len(c.policy.Keys); n > ledger.MaxKeys {
		return fmt.Errorf("it names %d keys; a log begins with %d at most", n, ledger.MaxKeys)
	}
	for _, k := range c.policy.Keys {
		c.keys = append(c.keys, &key{Key: k})
	}
	return c.assign()
}

func (c *ceremony) checkUserID(context.Context) error {
	if !c.Expires.IsZero() && !c.Expires.After(c.Now) {
		return fmt.Errorf("the certificate would expire at %s, before it is made", c.Expires.UTC().Format(time.RFC3339))
	}
	return certificate.CheckUserID(c.UserID)
}

// begin reads how far a ceremony in this directory came, or begins one.
func (c *ceremony) begin(context.Context) error {
	if err := durable.MkdirAll(c.Dir, 0o700); err != nil {
		return err
	}
	want := c.inputs()
	s, err := progress.Read(c.Dir)
	switch {
	case err == nil:
		if what := s.Differs(want); what != "" {
			return fmt.Errorf("%w: the %s differs", ErrInputs, what)
		}
		if len(s.Keys) != len(c.keys) {
			return fmt.Errorf("%w: its file tells of %d keys", ErrInputs, len(s.Keys))
		}
		c.state, c.Now = s, s.Time
	case !errors.Is(err, os.ErrNotExist):
		return err
	default:
		if _, err := os.Stat(stopped.LogDir(c.Dir)); err == nil {
			return fmt.Errorf("%w: %s holds a log; use another --dir", ErrEnrolled, c.Dir)
		} else if !errors.Is(err, os.ErrNotExist) {
			return err
		}
		c.state = want
	}
	for i, k := range c.keys {
		k.state = &c.state.Keys[i]
	}
	if s == nil {
		if err := transcript.Absent(c.Transcript); err != nil {
			return err
		}
		for _, name := range []string{"trust", logkey.BackupFile} {
			if err := absent(filepath.Join(c.TrustDir, name), "--trust-out"); err != nil {
				return err
			}
		}
	}
	if err := c.save(); err != nil {
		return err
	}
	return c.openTranscript(s != nil)
}

// save makes the state durable. Of a key that joins a log nothing is kept.
func (c *ceremony) save() error {
	if c.state == nil {
		return nil
	}
	if err := c.interrupt(); err != nil {
		return err
	}
	if err := c.state.Write(c.Dir); err != nil {
		return err
	}
	return c.interrupt()
}

// interrupt lets tests end the ceremony where a power cut would.
func (c *ceremony) interrupt() error {
	if c.hook == nil {
		return nil
	}
	return c.hook()
}

// checkTrustDir refuses early what would otherwise fail last, when HEAD is
// taken and what must be pinned could not be written any more.
func (c *ceremony) checkTrustDir(context.Context) error {
	if err := durable.MkdirAll(c.TrustDir, 0o755); err != nil {
		return err
	}
	probe := filepath.Join(c.TrustDir, ".probe")
	if err := durable.WriteFile(probe, nil, 0o644); err != nil {
		return err
	}
	return durable.Error("remove", probe, durable.OS.Remove(probe))
}

func (c *ceremony) makeLogKey(context.Context) (err error) {
	if c.log, err = logkey.Make(c.Dir, c.policy.Origin); err == nil {
		c.words.Once("log key     %s", c.log.Public)
	}
	return err
}

// backUp encrypts the log key for those who keep it.
func (c *ceremony) backUp(context.Context) error {
	if len(c.Backup) == 0 {
		c.words.Once("WARNING     no backup of the log key (no --backup-recipient): if the board's disk is lost, its checkpoints end until administrators order another key")
		return nil
	}
	c.words.Once("log key     backup in %s, for %d recipients", logkey.BackupFile, len(c.Backup))
	return c.log.BackUp(filepath.Join(c.TrustDir, logkey.BackupFile), c.Backup)
}

// openTranscript begins the minutes, or goes on with those of a ceremony that is
// resumed.
func (c *ceremony) openTranscript(resumed bool) (err error) {
	if c.words, err = transcript.Open(c.Transcript); err != nil {
		return err
	}
	if c.words.Empty() {
		c.head()
	}
	if resumed {
		c.words.Add("RESUMED")
	}
	return c.words.Flush()
}

// head says what goes into the ceremony.
func (c *ceremony) head() {
	t := c.words
	t.Add("Touchmark key ceremony of %s", c.policy.Origin)
	t.Add("begun       %s", c.Now.UTC().Format("2006-01-02 15:04:05 UTC"))
	if c.Throwaway {
		t.Add("THROWAWAY: for tests only, nothing of this is to be relied on")
	}
	t.Add("policy      SHA-256 of the note %x", c.state.Policy)
	t.Add("auditor     nonce %x", c.Nonce)
	if p := c.state.Predecessor; p.Origin != "" {
		t.Add("predecessor %s, genesis %x", p.Origin, p.Genesis)
	}
}

// inputs are the beginning of a ceremony's progress.
func (c *ceremony) inputs() *progress.State {
	s := &progress.State{Policy: sha256.Sum256(c.PolicyNote), UserID: c.UserID, Expires: c.Expires, Nonce: c.Nonce, SameHead: c.SameHead, Time: c.Now, Keys: make([]progress.Key, len(c.keys))}
	if c.Predecessor != nil {
		s.Predecessor = ledger.LogID{Origin: c.Predecessor.Origin, Genesis: c.Predecessor.Genesis}
	}
	return s
}

// recorded tells whether a value was made already.
func recorded(b []byte) bool { return len(b) > 0 }
