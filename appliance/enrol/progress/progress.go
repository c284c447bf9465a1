// Package progress is how far a key ceremony came: what was put in and what was
// made so far, and no secret, written down before the next thing is begun.
//
// It is a canonical text in the board's data directory, replaced as a whole and
// removed when the ceremony is done. Parse and marshal are inverse.
package progress

import (
	"path/filepath"
	"time"

	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/quote"
)

// File is the state in the data directory.
const File = "enrolment"

const (
	domain    = "touchmark/enrolment/v1"
	maxState  = 256 << 10 // three certificates of at most 8 KiB each for a key, in base64
	maxUserID = 1 << 10
	never     = "never" // in place of an expiry
)

// State is how far a ceremony came.
type State struct {
	// Inputs: another ceremony has others.
	Policy      [32]byte // SHA-256 of the note
	UserID      string
	Expires     time.Time // of the certificates, zero for never
	Nonce       [32]byte
	Predecessor ledger.LogID
	SameHead    bool
	Time        time.Time // of the key, of the genesis entry

	Secrets   bool  // the operator has set PIN and PUK of the token
	Keys      []Key // as the policy has them
	EKRead    bool
	EK        []byte
	AKAsked   bool // the TPM may have been asked for its AK
	AK        []byte
	Creation  quote.Creation
	Base      [32]byte // HEAD before
	HeadAsked bool     // the operator agreed to HEAD
}

// Key is how far a key came.
type Key struct {
	Asked       bool     // the token may have been asked for it
	Before      [32]byte // SHA-256 of what was in the slot until then, zero for nothing
	Attestation ledger.TokenAttestation
	Cert        []byte
}

// Differs names the first input that is another one.
func (s *State) Differs(want *State) string {
	switch {
	case s.Policy != want.Policy:
		return "policy"
	case s.UserID != want.UserID:
		return "user id"
	case !s.Expires.Equal(want.Expires):
		return "expiry"
	case s.Nonce != want.Nonce:
		return "auditor's nonce"
	case s.Predecessor != want.Predecessor || s.SameHead != want.SameHead:
		return "predecessor"
	}
	return ""
}

func (s *State) marshal() ([]byte, error) {
	w := canon.NewWriter(domain)
	w.Line("policy", canon.Hex(s.Policy[:]))
	w.Line("uid", canon.Base64([]byte(s.UserID)))
	expires := never
	if !s.Expires.IsZero() {
		expires = canon.Time(s.Expires)
	}
	w.Line("expires", expires)
	w.Line("nonce", canon.Hex(s.Nonce[:]))
	ledger.WriteLogID(w, "predecessor", s.Predecessor)
	w.Line("same-head", yesNo(s.SameHead))
	w.Line("time", canon.Time(s.Time))
	w.Line("secrets", yesNo(s.Secrets))
	for _, k := range s.Keys {
		w.Line("token-asked", yesNo(k.Asked), canon.Hex(k.Before[:]))
		w.Line("attestation", canon.Base64(k.Attestation.Slot), canon.Base64(k.Attestation.Intermediate))
		w.Line("cert", canon.Base64(k.Cert))
	}
	w.Line("ek", yesNo(s.EKRead), canon.Base64(s.EK))
	w.Line("ak-asked", yesNo(s.AKAsked))
	w.Line("ak", canon.Base64(s.AK))
	w.Line("creation", canon.Base64(s.Creation.Data), canon.Base64(s.Creation.Attest), canon.Base64(s.Creation.Sig))
	w.Line("base", canon.Hex(s.Base[:]))
	w.Line("head-asked", yesNo(s.HeadAsked))
	return w.Bytes(), w.Err()
}

// Write makes the state durable.
func (s *State) Write(dir string) error {
	text, err := s.marshal()
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dir, File), text, 0o600)
}

// Read is os.ErrNotExist when no ceremony is under way.
func Read(dir string) (*State, error) {
	text, err := durable.ReadFile(durable.OS, filepath.Join(dir, File), maxState)
	if err != nil {
		return nil, err
	}
	return parse(text)
}

func parse(text []byte) (*State, error) {
	r := canon.NewReader(text, domain)
	s := &State{Policy: [32]byte(r.Hex(r.Line("policy", 1)[0], 32)), UserID: string(r.Base64(r.Line("uid", 1)[0], maxUserID))}
	if f := r.Line("expires", 1)[0]; f != never {
		s.Expires = r.Time(f)
	}
	s.Nonce = [32]byte(r.Hex(r.Line("nonce", 1)[0], 32))
	s.Predecessor = ledger.ReadLogID(r, "predecessor")
	s.SameHead = readYesNo(r, r.Line("same-head", 1)[0])
	s.Time = r.Time(r.Line("time", 1)[0])
	s.Secrets = readYesNo(r, r.Line("secrets", 1)[0])
	for r.Peek() == "token-asked" && len(s.Keys) < ledger.MaxKeys {
		s.Keys = append(s.Keys, readKey(r))
	}
	f := r.Line("ek", 2)
	s.EKRead, s.EK = readYesNo(r, f[0]), r.Base64(f[1], ledger.MaxCert)
	s.AKAsked = readYesNo(r, r.Line("ak-asked", 1)[0])
	s.AK = r.Base64(r.Line("ak", 1)[0], ledger.MaxPublic)
	f = r.Line("creation", 3)
	s.Creation = quote.Creation{Data: r.Base64(f[0], ledger.MaxAttest), Attest: r.Base64(f[1], ledger.MaxAttest), Sig: r.Base64(f[2], ledger.MaxSig)}
	s.Base = [32]byte(r.Hex(r.Line("base", 1)[0], 32))
	s.HeadAsked = readYesNo(r, r.Line("head-asked", 1)[0])
	return s, r.Close()
}

func readKey(r *canon.Reader) (k Key) {
	f := r.Line("token-asked", 2)
	k.Asked, k.Before = readYesNo(r, f[0]), [32]byte(r.Hex(f[1], 32))
	f = r.Line("attestation", 2)
	k.Attestation = ledger.TokenAttestation{Slot: r.Base64(f[0], ledger.MaxCert), Intermediate: r.Base64(f[1], ledger.MaxCert)}
	k.Cert = r.Base64(r.Line("cert", 1)[0], ledger.MaxCert)
	return k
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

// Done removes the state: the ceremony is over.
func (s *State) Done(dir string) error {
	path := filepath.Join(dir, File)
	if err := durable.OS.Remove(path); err != nil {
		return durable.Error("remove", path, err)
	}
	return durable.OS.SyncDir(dir)
}
