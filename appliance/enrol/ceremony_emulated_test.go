//go:build emulated && !pcscd

package enrol

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/enrol/progress"
	"touchmark/appliance/enrol/stopped"
	"touchmark/appliance/operator"
	"touchmark/appliance/pcsc"
	"touchmark/appliance/piv"
	"touchmark/appliance/policy/policytest"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
	"touchmark/tests/swtpm"
	"touchmark/tpm/anchor"
	"touchmark/tpm/audit/challenge"
	"touchmark/tpm/device"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

const origin = "touchmark.example/test"

// rig is a token, a TPM, an operator who agrees to everything, and what a
// ceremony is made of.
type rig struct {
	t    *testing.T
	card *pivemu.Card
	tpm  *swtpm.Server
	cfg  Config
	seen []operator.View
	in   chan operator.Command
}

func newRig(t *testing.T, tpm *swtpm.Server) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "enrol") // short: a socket path has 107 bytes
	ok(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	card, err := pivemu.New(pivemu.Config{Serial: 12345678, Touch: pivemu.TouchAuto})
	ok(t, err)
	port := front.NewPort(card)
	t.Cleanup(port.Close)
	ok(t, port.ServeUnix(filepath.Join(dir, "s")))
	t.Cleanup(pcsc.Register(pcsc.DialBackend(filepath.Join(dir, "s"))))
	r := &rig{t: t, card: card, tpm: tpm, in: make(chan operator.Command, 1)}
	r.cfg = Config{
		Dir: filepath.Join(dir, "board"), TrustDir: filepath.Join(dir, "trust"), Transcript: filepath.Join(dir, "transcript"),
		PolicyNote: signedPolicy(t), UserID: "Test <test@touchmark.example>", Throwaway: true, Panel: r,
		Now: time.Now().UTC().Truncate(time.Second),
	}
	token, err := piv.Open(piv.Options{Reader: filepath.Join(dir, "s")})
	ok(t, err)
	t.Cleanup(func() { _ = token.Close() })
	r.cfg.Token = token
	r.open()
	return r
}

func (r *rig) open() {
	r.t.Helper()
	tpm, err := device.Open(r.tpm.Spec())
	ok(r.t, err)
	r.t.Cleanup(func() { _ = tpm.Close() })
	r.cfg.TPM = tpm
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func signedPolicy(t *testing.T) []byte {
	t.Helper()
	secret, admin, err := note.GenerateKey(rand.Reader, "admin")
	ok(t, err)
	_, host, err := note.GenerateKey(rand.Reader, "repo1")
	ok(t, err)
	signer, err := note.NewSigner(secret)
	ok(t, err)
	text := policytest.Policy{Origin: origin, Admin: admin, Host: host, Classes: []policytest.Class{
		{Name: "anything", Names: "*", MaxSize: "1TiB", Rate: "600/1h", Batch: 16},
	}}.Text()
	msg, err := message.SignNote([]byte(text), signer)
	ok(t, err)
	return msg
}

func (r *rig) Commands() <-chan operator.Command { return r.in }

// Show is the operator, who does what is asked.
func (r *rig) Show(v operator.View) {
	r.seen = append(r.seen, v)
	switch v.Ask {
	case operator.AskPIN:
		r.in <- operator.Command{Verb: operator.PIN, PIN: []byte("123456")}
	case operator.AskConfirm:
		r.in <- operator.Command{Verb: operator.Confirm}
	}
}

var errKilled = errors.New("killed")

// killedAt runs the ceremony until the nth chance to end it.
func (r *rig) killedAt(n int) error {
	c := &ceremony{Config: r.cfg, hook: func() error {
		if n--; n == 0 {
			return errKilled
		}
		return nil
	}}
	_, err := c.run(context.Background())
	return err
}

// complete finishes the ceremony and checks all of what it made.
func (r *rig) complete() *anchor.Trust {
	r.t.Helper()
	trust, err := Run(context.Background(), r.cfg)
	ok(r.t, err)
	r.check(trust)
	return trust
}

func (r *rig) check(trust *anchor.Trust) {
	t := r.t
	t.Helper()
	text, err := os.ReadFile(filepath.Join(r.cfg.TrustDir, "trust"))
	ok(t, err)
	pinned, err := anchor.OpenTrust(text)
	ok(t, err)
	if pinned.Hash() != trust.Hash() {
		t.Error("another trust was written")
	}
	store, err := ledgerstore.Open(stopped.LogDir(r.cfg.Dir))
	ok(t, err)
	defer func() { ok(t, store.Close()) }()
	if store.Size() != 2 {
		t.Fatalf("a log of %d entries", store.Size())
	}
	g, _, err := readGenesis(store)
	ok(t, err)
	raw, err := store.Entry(0)
	ok(t, err)
	x := ledger.X(ledger.CheckpointBody(origin, 1, ledger.LeafHash(raw)))
	head, err := r.cfg.TPM.Head()
	ok(t, err)
	pcr, err := r.cfg.TPM.PCR()
	ok(t, err)
	if head != anchor.Extend(g.Base, x) || pcr != anchor.Extend([32]byte{}, x) {
		t.Errorf("HEAD %x, PCR %x: not the genesis entry once", head, pcr)
	}
	p := past.New(past.Config{Store: store, Log: zerolog.Nop()})
	ok(t, p.Load(r.cfg.Now))
	if cp, err := stopped.Checkpoint(r.cfg.Dir, store, p); err != nil {
		t.Error(err)
	} else if _, err := pinned.OpenCheckpoint(cp); err != nil {
		t.Error(err)
	}
	told, err := os.ReadFile(r.cfg.Transcript)
	ok(t, err)
	for _, line := range []string{"TPM         ", "token       ", "key         ", "certificate ", "log key     ", "AK          ", "HEAD        ", "genesis     "} {
		if n := strings.Count(string(told), "\n"+line); n != 1 {
			t.Errorf("the transcript says %q %d times:\n%s", line, n, told)
		}
	}
	for _, k := range g.Keys { // what is written down at the board is what the transcript says, and stands there to the end
		if fpr, last := fmt.Sprintf("%X", k.Fingerprint), r.seen[len(r.seen)-1].Message; !strings.Contains(string(told), fpr) || !strings.Contains(last, "Fingerprint of "+k.Name+": "+fpr+".") {
			t.Errorf("fingerprint %s of %s: the display says %q", fpr, k.Name, last)
		}
	}
	ak, err := r.cfg.TPM.AK()
	ok(t, err)
	if !bytes.Equal(ak.Marshal(), g.AK) {
		t.Error("the TPM has another AK than the genesis entry")
	}
	if _, err := os.Stat(filepath.Join(r.cfg.Dir, progress.File)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the state of the ceremony stayed: %v", err)
	}
	if _, err := Run(context.Background(), r.cfg); !errors.Is(err, ErrEnrolled) {
		t.Errorf("a second ceremony: %v", err)
	}
}

func readGenesis(store *ledgerstore.Store) (*ledger.Genesis, ledger.Header, error) {
	raw, err := store.Entry(0)
	if err != nil {
		return nil, ledger.Header{}, err
	}
	h, body, err := ledger.Parse(raw)
	if err != nil {
		return nil, h, err
	}
	return body.(*ledger.Genesis), h, nil
}

func (r *rig) tokenKey() []byte {
	r.t.Helper()
	pub, err := r.cfg.Token.Public("9c")
	if errors.Is(err, piv.ErrEmptySlot) {
		return nil
	}
	ok(r.t, err)
	spki, err := x509.MarshalPKIXPublicKey(pub)
	ok(r.t, err)
	return spki
}

// A ceremony that ends anywhere is finished by the same command. The token
// makes one key.
func TestCutShortAnywhere(t *testing.T) {
	for n, over := 1, false; !over; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRig(t, swtpm.Start(t))
			manager(r)
			id := authorizer(r)
			err := r.killedAt(n)
			if over = err == nil; over {
				return
			}
			if !errors.Is(err, errKilled) {
				t.Fatal(err)
			}
			key := r.tokenKey()
			trust := r.complete()
			if key != nil && !bytes.Equal(key, r.tokenKey()) {
				t.Error("the token made a second key")
			}
			authorized(r, id, logOf(trust))
		})
	}
}

// Power that goes between any two steps takes the PCR, and nothing else.
func TestPowerCutAnywhere(t *testing.T) {
	for n, over := 1, false; !over; n++ {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			r := newRig(t, swtpm.Start(t))
			err := r.killedAt(n)
			if over = err == nil; over {
				return
			}
			ok(t, r.tpm.PowerCycle())
			r.open()
			before, pcrErr := r.cfg.TPM.PCR()
			ok(t, pcrErr)
			if before != [32]byte{} {
				t.Fatalf("PCR %x after the power came back", before)
			}
			if store, err := ledgerstore.Open(stopped.LogDir(r.cfg.Dir)); err == nil {
				attested := store.Size() == 2
				ok(t, store.Close())
				if attested {
					_, err := Run(context.Background(), r.cfg)
					ok(t, err)
					if pcr, err := r.cfg.TPM.PCR(); err != nil || pcr != [32]byte{} {
						t.Errorf("PCR %x, %v: what was attested before the reset was extended again, which no start explains", pcr, err)
					}
					return
				}
			}
			r.complete()
		})
	}
}

// TestTPMFaultsAnywhere makes every command to the TPM fail, applied and not.
func TestTPMFaultsAnywhere(t *testing.T) {
	codes := map[uint32]int{}
	all := newRig(t, swtpm.Start(t))
	all.complete()
	for _, code := range []uint32{swtpm.EvictControl, swtpm.NVDefineSpace, swtpm.CreatePrimary, swtpm.NVExtend, swtpm.CertifyCreation, swtpm.NVRead,
		swtpm.Quote, swtpm.FlushContext, swtpm.NVReadPublic, swtpm.ReadPublic, swtpm.GetCapability, swtpm.PCRRead, swtpm.PCRExtend, swtpm.NVCertify} {
		codes[code] = min(all.tpm.Count(code), 4)
	}
	for code, times := range codes {
		for nth := 1; nth <= times; nth++ {
			for _, kind := range []swtpm.Kind{swtpm.Refuse, swtpm.ApplyAndRefuse, swtpm.ApplyAndClose} {
				t.Run(fmt.Sprintf("%#x/%d/%d", code, nth, kind), func(t *testing.T) {
					r := newRig(t, swtpm.Start(t))
					r.tpm.Fail(swtpm.Fault{Code: code, Nth: nth, Kind: kind, RC: swtpm.RCFailure})
					if trust, err := Run(context.Background(), r.cfg); err == nil {
						r.tpm.Heal()
						r.check(trust)
						return
					}
					r.tpm.Heal()
					r.complete()
				})
			}
		}
	}
}

func TestEmulatedHardwareIsRefused(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	r.cfg.Throwaway = false
	if _, err := Run(context.Background(), r.cfg); !errors.Is(err, ErrThrowaway) {
		t.Error(err)
	}
	if r.tokenKey() != nil {
		t.Error("the token made a key all the same")
	}
	if _, err := r.cfg.TPM.Head(); !errors.Is(err, device.ErrNoHead) {
		t.Errorf("HEAD was made all the same: %v", err)
	}
}

// The operator is asked before what cannot be undone, and may say no.
func TestConfirmations(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	_, err := r.cfg.Token.Enrol(piv.EnrolConfig{Key: piv.KeySpec{Slot: "9c", Algorithm: "p256"}})
	ok(t, err)
	old := r.tokenKey()
	if _, err := Run(context.Background(), r.cfg); !errors.Is(err, piv.ErrSlotInUse) {
		t.Fatal(err)
	}
	r.cfg.Replace = true
	c := &ceremony{Config: r.cfg}
	c.Throwaway = false
	c.Panel = leaver{r}
	ok(t, c.readPolicy(t.Context()))
	ok(t, c.begin(t.Context()))
	if err := c.makeKeys(t.Context()); err == nil || !strings.Contains(err.Error(), "left") {
		t.Errorf("without a yes: %v", err)
	}
	if !bytes.Equal(old, r.tokenKey()) {
		t.Error("the key was destroyed all the same")
	}
	if err := c.makeHead(t.Context()); err == nil || !strings.Contains(err.Error(), "left") {
		t.Errorf("without a yes: %v", err)
	}
	if _, err := r.cfg.TPM.Head(); !errors.Is(err, device.ErrNoHead) {
		t.Errorf("HEAD was made all the same: %v", err)
	}
	c.Panel = r
	ok(t, c.makeKeys(t.Context()))
	if bytes.Equal(old, r.tokenKey()) {
		t.Error("the key was not replaced")
	}
	if !slices.ContainsFunc(r.seen, func(v operator.View) bool { return strings.Contains(v.Message, "Destroy the key") }) {
		t.Error("nobody was asked")
	}
}

// leaver leaves when asked to confirm.
type leaver struct{ *rig }

func (l leaver) Show(v operator.View) {
	if v.Ask == operator.AskConfirm {
		l.in <- operator.Command{Verb: operator.Quit}
	}
}

func TestOtherInputsAreRefused(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	if err := r.killedAt(6); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	good := r.cfg
	for name, change := range map[string]func(*Config){
		"policy":      func(c *Config) { c.PolicyNote = signedPolicy(t) },
		"user id":     func(c *Config) { c.UserID = "Other <o@touchmark.example>" },
		"nonce":       func(c *Config) { c.Nonce[0]++ },
		"predecessor": func(c *Config) { c.Predecessor = &anchor.Trust{Origin: "a.example/b"} },
	} {
		r.cfg = good
		change(&r.cfg)
		if _, err := Run(context.Background(), r.cfg); !errors.Is(err, ErrInputs) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.cfg = good
	r.complete()
}

// A platform authorization that is set keeps HEAD from being made; the next
// boot, in which it is empty, finishes the ceremony with the same keys.
func TestPlatformLocked(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	if _, err := r.tpm.Tool("tpm2_changeauth", "-c", "p", "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), r.cfg); !errors.Is(err, device.ErrPlatformLocked) {
		t.Fatal(err)
	}
	key := r.tokenKey()
	ok(t, r.tpm.PowerCycle())
	r.open()
	r.complete()
	if !bytes.Equal(key, r.tokenKey()) {
		t.Error("the token made a second key")
	}
}

// Authorizations that somebody else set are found before anything is made.
func TestAuthsOfAnother(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	if _, err := r.tpm.Tool("tpm2_changeauth", "-c", "o", "secret"); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(context.Background(), r.cfg); !errors.Is(err, device.ErrAuthSet) {
		t.Error(err)
	}
	if r.tokenKey() != nil {
		t.Error("the token made a key all the same")
	}
}

// A ceremony goes on with its own TPM and token only.
func TestSwappedHardware(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	for n := 10; n == 10 || !recordedAK(t, r.cfg.Dir); n++ {
		if err := r.killedAt(n); !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
	}
	mine, other := r.cfg, newRig(t, swtpm.Start(t))
	r.cfg.TPM = other.cfg.TPM
	if _, err := Run(context.Background(), r.cfg); !errors.Is(err, device.ErrNoAK) {
		t.Errorf("another TPM: %v", err)
	}
	r.cfg = mine
	r.cfg.Token = other.cfg.Token
	if _, err := Run(context.Background(), r.cfg); !errors.Is(err, piv.ErrEmptySlot) {
		t.Errorf("another token: %v", err)
	}
	r.cfg = mine
	r.complete()
}

func recordedAK(t *testing.T, dir string) bool {
	t.Helper()
	s, err := progress.Read(dir)
	ok(t, err)
	return recorded(s.AK)
}

// After TPM2_Clear a new log begins on the same HEAD, and says after which.
func TestSameHead(t *testing.T) {
	r := newRig(t, swtpm.Start(t))
	first := r.complete()
	base, err := r.cfg.TPM.Head()
	ok(t, err)
	if _, err := r.tpm.Tool("tpm2_clear", "-c", "p"); err != nil {
		t.Fatal(err)
	}
	ok(t, r.tpm.PowerCycle())
	r.open()
	next := newRig(t, r.tpm)
	if _, err := Run(context.Background(), next.cfg); !errors.Is(err, device.ErrHeadExists) || !strings.Contains(err.Error(), "--same-head") {
		t.Errorf("without --same-head: %v", err)
	}
	next = newRig(t, r.tpm)
	next.cfg.SameHead, next.cfg.Predecessor = true, first
	if err := next.killedAt(20); !errors.Is(err, errKilled) {
		t.Fatal(err)
	}
	next.complete()
	store, err := ledgerstore.Open(stopped.LogDir(next.cfg.Dir))
	ok(t, err)
	defer func() { ok(t, store.Close()) }()
	g, _, err := readGenesis(store)
	ok(t, err)
	if g.Base != base || (g.Predecessor != ledger.LogID{Origin: origin, Genesis: first.Genesis}) {
		t.Errorf("base %x, predecessor %+v", g.Base, g.Predecessor)
	}
}

// The certificate of a TPM as manufactured gets into the genesis entry, and
// the board answers for it.
func TestEndorsement(t *testing.T) {
	roots := t.TempDir()
	r := newRig(t, swtpm.StartCertified(t, roots))
	id := authorizer(r)
	trust := r.complete()
	store, err := ledgerstore.Open(stopped.LogDir(r.cfg.Dir))
	ok(t, err)
	g, _, err := readGenesis(store)
	ok(t, err)
	ok(t, store.Close())
	cert, err := x509.ParseCertificate(g.EK)
	ok(t, err)
	ak, err := r.cfg.TPM.AK()
	ok(t, err)
	c, err := challenge.New(trust.Origin, r.cfg.Now, rand.Reader)
	ok(t, err)
	kept, err := c.Ask(cert.PublicKey, ak.Name(), rand.Reader)
	ok(t, err)
	if _, err := stopped.Answer(r.cfg.Dir, r.cfg.TPM, nil, c); !errors.Is(err, device.ErrEndorsementLocked) {
		t.Errorf("without the authorization: %v", err)
	}
	auths := authorized(r, id, logOf(trust))
	a, err := stopped.Answer(r.cfg.Dir, r.cfg.TPM, auths[device.Endorsement], c)
	ok(t, err)
	ok(t, c.Check(a, kept))
	c.Origin = "other.example/log"
	if _, err := stopped.Answer(r.cfg.Dir, r.cfg.TPM, auths[device.Endorsement], c); err == nil {
		t.Error("a challenge for another log was answered")
	}
	text, err := os.ReadFile(r.cfg.Transcript)
	ok(t, err)
	for _, want := range []string{"Touchmark key ceremony of " + origin, "EK          certificate", "AK          Name", "HEAD        index", "genesis     leaf hash", "THROWAWAY", "Present (name"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the transcript lacks %q:\n%s", want, text)
		}
	}
	for _, secret := range []string{fmt.Sprintf("%x", auths[device.Owner]), "PRIVATE", "123456\n"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("the transcript holds the secret %q", secret)
		}
	}
}
