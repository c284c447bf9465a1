package anchor

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// TrustDomain is the first line of a trust text.
const TrustDomain = "touchmark/trust/v1"

// Trust is what a verifier pins: the text of a signed note. Version 1 is
// signed by the log key of the enrolment, each later one by a quorum of the
// administrators of the one before, or of its recovery keys, which replace
// administrators that are lost and do nothing else. Log keys, certificates,
// administrators and recovery keys may change from version to version, the rest
// was fixed when the log began.
type Trust struct {
	Origin   string
	Version  uint64   // 1, 2, 3, ...
	Previous [32]byte // Hash of the version before, zero when Version is 1

	LogKey     string   // note verifier key that signs checkpoints now
	OldLogKeys []string // that did before; what they signed is still good

	AK       []byte   // TPMT_PUBLIC
	Head     uint32   // NV index handle
	HeadName []byte   // Name of HEAD, 34 bytes
	PCR      int      // 8..15
	Genesis  [32]byte // leaf hash of entry 0
	Emulated bool     // the token's attestation chain is not Yubico's
	Certs    [][]byte // OpenPGP certificates of the log's keys, binary, 1 to 24

	Quorum         int      // of Administrators, who sign the next version
	Administrators []string // note verifier keys

	RecoveryQuorum int      // of Recovery, 0 if there is none
	Recovery       []string // note verifier keys that may replace Administrators
}

// Marshal encodes the trust text; what OpenTrust would refuse is an error.
func (t *Trust) Marshal() ([]byte, error) {
	w := canon.NewWriter(TrustDomain)
	w.Line("origin", t.Origin)
	w.Line("version", canon.Uint(t.Version))
	w.Line("previous", canon.Hex(t.Previous[:]))
	for _, k := range t.logKeys() {
		w.Line("log-key", k)
	}
	w.Line("ak", canon.Base64(t.AK))
	w.Line("head", canon.Uint(uint64(t.Head)), canon.Hex(t.HeadName))
	w.Line("pcr", canon.Uint(uint64(t.PCR)))
	w.Line("genesis", canon.Hex(t.Genesis[:]))
	w.Line("token", ledger.EmulatedWord(t.Emulated))
	for _, c := range t.Certs {
		w.Line("cert", canon.Base64(c))
	}
	w.Line("quorum", canon.Uint(uint64(t.Quorum)))
	for _, a := range t.Administrators {
		w.Line("administrator", a)
	}
	if len(t.Recovery) > 0 || t.RecoveryQuorum != 0 {
		w.Line("recovery-quorum", canon.Uint(uint64(t.RecoveryQuorum)))
	}
	for _, r := range t.Recovery {
		w.Line("recovery", r)
	}
	text := w.Bytes()
	if text == nil {
		return nil, fmt.Errorf("trust: %w", w.Err())
	}
	if _, err := parseTrust(text); err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return text, nil
}

// Hash names this version in the next one: SHA-256 of the text. A trust that
// cannot be encoded has none and gives zeros.
func (t *Trust) Hash() [32]byte {
	text, err := t.Marshal()
	if err != nil {
		return [32]byte{}
	}
	return sha256.Sum256(text)
}

func (t *Trust) logKeys() []string { return append([]string{t.LogKey}, t.OldLogKeys...) }

// Sign makes the note. For version 1 the signer is the log key, for a later
// one it is administrators of the version before; which ones are enough is
// for Successor to say.
func (t *Trust) Sign(signers ...note.Signer) ([]byte, error) {
	text, err := t.Marshal()
	if err != nil {
		return nil, err
	}
	msg, err := message.SignNote(text, signers...)
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return msg, nil
}

// OpenTrust reads a trust note that is pinned by hand. Version 1 must carry
// its log key's signature and no other: that guards against damage, not
// against whoever hands it over. The signatures of a later version are those
// of people whom only the version before names, so they are not looked at
// here: replace a pinned version through Successor.
func OpenTrust(msg []byte) (*Trust, error) {
	t, err := trustText(msg)
	if err != nil || t.Version > 1 {
		return t, err
	}
	keys, err := verifiers([]string{t.LogKey})
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	if _, err := message.OpenQuorum(msg, nil, 0, keys...); err != nil {
		return nil, fmt.Errorf("trust version 1: %w", err)
	}
	return t, nil
}

// Successor verifies that a note is the version after this one: signed by a
// quorum of this one's administrators, or of its recovery keys (Recovers), and
// nobody else, and different only in what they may change.
func (t *Trust) Successor(msg []byte) (*Trust, error) {
	next, err := trustText(msg)
	if err != nil {
		return nil, err
	}
	// Before the signatures: those of another version are by keys that this one need not know.
	switch {
	case next.Hash() == t.Hash():
		return nil, fmt.Errorf("trust version %d is there already: this is no next one", next.Version)
	case next.Version != t.Version+1:
		return nil, fmt.Errorf("trust version %d does not follow version %d: take the versions one by one", next.Version, t.Version)
	}
	recovers := t.Recovers(msg)
	who, quorum := t.Administrators, t.Quorum
	if recovers {
		who, quorum = t.Recovery, t.RecoveryQuorum
	}
	keys, err := verifiers(who)
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	if _, err := message.OpenQuorum(msg, keys, max(quorum, 1)); err != nil {
		return nil, fmt.Errorf("trust version %d: %w", next.Version, err)
	}
	if next.Previous != t.Hash() {
		return nil, fmt.Errorf("trust version %d follows another version %d than this one", next.Version, t.Version)
	}
	if what := t.fixed(next); what != "" {
		return nil, fmt.Errorf("trust version %d: the %s of a log never changes", next.Version, what)
	}
	if what := t.beyondRecovery(next); recovers && what != "" {
		return nil, fmt.Errorf("trust version %d: signed by a recovery key, and those may change administrators only: keep the %s as it is", next.Version, what)
	}
	return next, nil
}

// Recovers reports whether a note is signed in the name of one of the recovery
// keys: then those decide about it, not the administrators.
func (t *Trust) Recovers(msg []byte) bool {
	keys, err := verifiers(t.Recovery)
	return err == nil && message.NoteNames(msg, keys)
}

// beyondRecovery names the first field that differs though recovery may not
// change it.
func (t *Trust) beyondRecovery(next *Trust) string {
	switch {
	case next.LogKey != t.LogKey || !slices.Equal(next.OldLogKeys, t.OldLogKeys):
		return "log keys"
	case !slices.EqualFunc(next.Certs, t.Certs, bytes.Equal):
		return "certificates"
	case next.RecoveryQuorum != t.RecoveryQuorum || !slices.Equal(next.Recovery, t.Recovery):
		return "recovery keys"
	}
	return ""
}

// fixed names the first field that differs though it never may.
func (t *Trust) fixed(next *Trust) string {
	switch {
	case next.Origin != t.Origin:
		return "origin"
	case !bytes.Equal(next.AK, t.AK):
		return "attestation key"
	case next.Head != t.Head || !bytes.Equal(next.HeadName, t.HeadName):
		return "HEAD"
	case next.PCR != t.PCR:
		return "PCR"
	case next.Genesis != t.Genesis:
		return "genesis entry"
	case next.Emulated != t.Emulated:
		return "kind of token"
	}
	return ""
}

func trustText(msg []byte) (*Trust, error) {
	if len(msg) > MaxTrust {
		return nil, fmt.Errorf("trust note of %d bytes, at most %d", len(msg), MaxTrust)
	}
	text, err := message.NoteText(msg)
	if err != nil {
		return nil, fmt.Errorf("trust: %w", err)
	}
	return parseTrust(text)
}

// parseTrust decodes a trust text. The AK must be one that package quote
// accepts: a trust that could never verify anything is refused here.
func parseTrust(text []byte) (*Trust, error) {
	r := canon.NewReader(text, TrustDomain)
	t := &Trust{Origin: r.Line("origin", 1)[0]}
	if err := message.ValidOrigin(t.Origin); err != nil {
		r.Failf("%v", err)
	}
	t.readVersion(r)
	t.readLogKeys(r)
	t.AK = r.Base64(r.Line("ak", 1)[0], ledger.MaxPublic)
	if _, err := quote.ParseAK(t.AK); err != nil {
		r.Failf("%v", err)
	}
	t.Head, t.HeadName = ledger.ReadHead(r)
	if !bytes.Equal(t.HeadName, quote.HeadName(t.Head)) {
		r.Failf("the Name is not that of an append-only index at this handle")
	}
	t.PCR = ledger.ReadPCR(r)
	t.Genesis = [32]byte(r.Hex(r.Line("genesis", 1)[0], 32))
	t.Emulated = ledger.ReadEmulated(r, r.Line("token", 1)[0])
	t.readCerts(r)
	t.readAdministrators(r)
	if err := r.Close(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Trust) readVersion(r *canon.Reader) {
	t.Version = r.Uint(r.Line("version", 1)[0], maxVersion)
	t.Previous = [32]byte(r.Hex(r.Line("previous", 1)[0], 32))
	if r.Err() == nil && (t.Version == 0 || (t.Version == 1) != (t.Previous == [32]byte{})) {
		r.Failf("versions start with 1, which alone has no previous one: 64 zeros")
	}
}

func (t *Trust) readLogKeys(r *canon.Reader) {
	t.LogKey = ledger.ReadLogKey(r, r.Line("log-key", 1)[0], t.Origin)
	for r.Peek() == "log-key" && len(t.OldLogKeys) < maxLogKeys-1 {
		t.OldLogKeys = append(t.OldLogKeys, ledger.ReadLogKey(r, r.Line("log-key", 1)[0], t.Origin))
	}
	t.distinct(r, t.logKeys())
}

func (t *Trust) readCerts(r *canon.Reader) {
	for ok := true; ok; ok = r.Peek() == "cert" && len(t.Certs) < maxCerts {
		c := r.Base64(r.Line("cert", 1)[0], ledger.MaxCert)
		switch {
		case r.Err() != nil:
		case len(c) == 0:
			r.Failf("the certificate is missing")
		case slices.ContainsFunc(t.Certs, func(o []byte) bool { return bytes.Equal(o, c) }):
			r.Failf("a certificate stands here twice")
		}
		t.Certs = append(t.Certs, c)
	}
}

func (t *Trust) readAdministrators(r *canon.Reader) {
	t.Quorum = int(r.Uint(r.Line("quorum", 1)[0], maxAdministrators))
	for r.Peek() == "administrator" && len(t.Administrators) < maxAdministrators {
		t.Administrators = append(t.Administrators, r.Line("administrator", 1)[0])
	}
	if r.Err() == nil && (t.Quorum < 1 || t.Quorum > len(t.Administrators)) {
		r.Failf("a quorum of %d is not from 1 to the number of administrators, which is %d", t.Quorum, len(t.Administrators))
	}
	if r.Peek() == "recovery-quorum" {
		t.readRecovery(r)
	}
	t.distinct(r, slices.Concat(t.Administrators, t.Recovery))
}

func (t *Trust) readRecovery(r *canon.Reader) {
	t.RecoveryQuorum = int(r.Uint(r.Line("recovery-quorum", 1)[0], maxAdministrators))
	for r.Peek() == "recovery" && len(t.Recovery) < maxAdministrators {
		t.Recovery = append(t.Recovery, r.Line("recovery", 1)[0])
	}
	if r.Err() == nil && (t.RecoveryQuorum < 1 || t.RecoveryQuorum > len(t.Recovery)) {
		r.Failf("a quorum of %d is not from 1 to the number of recovery keys, which is %d", t.RecoveryQuorum, len(t.Recovery))
	}
}

// distinct refuses what is not a key, and two keys of one name and hash.
func (t *Trust) distinct(r *canon.Reader, vkeys []string) {
	if r.Err() != nil {
		return
	}
	keys, err := verifiers(vkeys)
	if err != nil {
		r.Failf("%v", err)
	}
	for i, k := range keys {
		if slices.ContainsFunc(keys[:i], func(o note.Verifier) bool { return o.Name() == k.Name() && o.KeyHash() == k.KeyHash() }) {
			r.Failf("key %s stands here twice", vkeys[i])
		}
	}
}

func verifiers(vkeys []string) ([]note.Verifier, error) {
	out := make([]note.Verifier, len(vkeys))
	for i, k := range vkeys {
		v, err := message.ParseKey(k)
		if err != nil {
			return nil, err
		}
		out[i] = v
	}
	return out, nil
}

// TrustOf is what a genesis entry itself says of the first version: all of it
// but the administrators and recovery keys, whom its policy names. The enroller
// adds them and writes it out; an auditor compares.
func TrustOf(entry []byte, g *ledger.Genesis) *Trust {
	t := &Trust{
		Origin: g.Origin, Version: 1, LogKey: g.LogKey, AK: g.AK, Head: g.Head, HeadName: g.HeadName, PCR: g.PCR,
		Genesis: ledger.LeafHash(entry), Emulated: g.Emulated(),
	}
	for _, k := range g.Keys {
		t.Certs = append(t.Certs, k.Cert)
	}
	return t
}

// logVerifiers are the log keys whose checkpoints are good, the present one
// first.
func (t *Trust) logVerifiers() ([]note.Verifier, error) {
	keys, err := verifiers(t.logKeys())
	if err != nil {
		return nil, fmt.Errorf("log key: %w", err)
	}
	return keys, nil
}
