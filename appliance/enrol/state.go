package enrol

import (
	"crypto/sha256"
	"path/filepath"
	"time"

	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/quote"
)

// The state of a ceremony: a canonical text in the data directory that holds
// what was put in and what was made so far, and no secret. It is removed when
// all is done.
const (
	stateDomain = "touchmark/enrolment/v1"
	stateFile   = "enrolment"
	maxState    = 64 << 10 // certificates of at most 8 KiB each, in base64
	maxUserID   = 1 << 10
)

// state is how far a ceremony came.
type state struct {
	// Inputs: another ceremony has others.
	policy      [32]byte // SHA-256 of the note
	userID      string
	nonce       [32]byte
	predecessor ledger.LogID
	sameHead    bool
	time        time.Time // of the key, of the genesis entry

	asked       bool     // the token may have been asked for its key
	before      [32]byte // SHA-256 of what was in the slot until then, zero for nothing
	attestation ledger.TokenAttestation
	cert        []byte
	ekRead      bool
	ek          []byte
	akAsked     bool // the TPM may have been asked for its AK
	ak          []byte
	creation    quote.Creation
	base        [32]byte // HEAD before
	headAsked   bool     // the operator agreed to HEAD
}

func (c *ceremony) inputs() *state {
	s := &state{policy: sha256.Sum256(c.PolicyNote), userID: c.UserID, nonce: c.Nonce, sameHead: c.SameHead, time: c.Now}
	if c.Predecessor != nil {
		s.predecessor = ledger.LogID{Origin: c.Predecessor.Origin, Genesis: c.Predecessor.Genesis}
	}
	return s
}

// differs names the first input that is another one.
func (s *state) differs(want *state) string {
	switch {
	case s.policy != want.policy:
		return "policy"
	case s.userID != want.userID:
		return "user id"
	case s.nonce != want.nonce:
		return "auditor's nonce"
	case s.predecessor != want.predecessor || s.sameHead != want.sameHead:
		return "predecessor"
	}
	return ""
}

func (s *state) marshal() ([]byte, error) {
	w := canon.NewWriter(stateDomain)
	w.Line("policy", canon.Hex(s.policy[:]))
	w.Line("uid", canon.Base64([]byte(s.userID)))
	w.Line("nonce", canon.Hex(s.nonce[:]))
	ledger.WriteLogID(w, "predecessor", s.predecessor)
	w.Line("same-head", yesNo(s.sameHead))
	w.Line("time", canon.Time(s.time))
	w.Line("token-asked", yesNo(s.asked), canon.Hex(s.before[:]))
	w.Line("attestation", canon.Base64(s.attestation.Slot), canon.Base64(s.attestation.Intermediate))
	w.Line("cert", canon.Base64(s.cert))
	w.Line("ek", yesNo(s.ekRead), canon.Base64(s.ek))
	w.Line("ak-asked", yesNo(s.akAsked))
	w.Line("ak", canon.Base64(s.ak))
	w.Line("creation", canon.Base64(s.creation.Data), canon.Base64(s.creation.Attest), canon.Base64(s.creation.Sig))
	w.Line("base", canon.Hex(s.base[:]))
	w.Line("head-asked", yesNo(s.headAsked))
	return w.Bytes(), w.Err()
}

func (s *state) write(dir string) error {
	text, err := s.marshal()
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, stateFile), text, 0o600)
}

// readState is os.ErrNotExist when no ceremony is under way.
func readState(dir string) (*state, error) {
	text, err := durable.ReadFile(durable.OS, filepath.Join(dir, stateFile), maxState)
	if err != nil {
		return nil, err
	}
	return parseState(text)
}

func parseState(text []byte) (*state, error) {
	r := canon.NewReader(text, stateDomain)
	s := &state{policy: [32]byte(r.Hex(r.Line("policy", 1)[0], 32)), userID: string(r.Base64(r.Line("uid", 1)[0], maxUserID))}
	s.nonce = [32]byte(r.Hex(r.Line("nonce", 1)[0], 32))
	s.predecessor = ledger.ReadLogID(r, "predecessor")
	s.sameHead = readYesNo(r, r.Line("same-head", 1)[0])
	s.time = r.Time(r.Line("time", 1)[0])
	f := r.Line("token-asked", 2)
	s.asked, s.before = readYesNo(r, f[0]), [32]byte(r.Hex(f[1], 32))
	f = r.Line("attestation", 2)
	s.attestation = ledger.TokenAttestation{Slot: r.Base64(f[0], ledger.MaxCert), Intermediate: r.Base64(f[1], ledger.MaxCert)}
	s.cert = r.Base64(r.Line("cert", 1)[0], ledger.MaxCert)
	f = r.Line("ek", 2)
	s.ekRead, s.ek = readYesNo(r, f[0]), r.Base64(f[1], ledger.MaxCert)
	s.akAsked = readYesNo(r, r.Line("ak-asked", 1)[0])
	s.ak = r.Base64(r.Line("ak", 1)[0], ledger.MaxPublic)
	f = r.Line("creation", 3)
	s.creation = quote.Creation{Data: r.Base64(f[0], ledger.MaxAttest), Attest: r.Base64(f[1], ledger.MaxAttest), Sig: r.Base64(f[2], ledger.MaxSig)}
	s.base = [32]byte(r.Hex(r.Line("base", 1)[0], 32))
	s.headAsked = readYesNo(r, r.Line("head-asked", 1)[0])
	return s, r.Close()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func readYesNo(r *canon.Reader, word string) bool {
	if word != "yes" && word != "no" {
		r.Failf("%q is neither yes nor no", word)
	}
	return word == "yes"
}

// done removes the state.
func (s *state) done(dir string) error {
	path := filepath.Join(dir, stateFile)
	if err := durable.OS.Remove(path); err != nil {
		return durable.Error("remove", path, err)
	}
	return durable.OS.SyncDir(dir)
}

// recorded tells whether a value was made already.
func recorded(b []byte) bool { return len(b) > 0 }
