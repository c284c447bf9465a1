package anchor

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
)

func signed(t testing.TB, tr *Trust, by ...note.Signer) []byte {
	t.Helper()
	msg, err := tr.Sign(by...)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestTrustIdentity(t *testing.T) {
	w := newWorld(t)
	msg := signed(t, &w.trust, w.logKey)
	tr, err := OpenTrust(msg)
	if err != nil {
		t.Fatal(err)
	}
	if again := signed(t, tr, w.logKey); !bytes.Equal(again, msg) {
		t.Errorf("\n%s\n%s", msg, again)
	}
	if tr.Hash() == [32]byte{} || (&Trust{}).Hash() != [32]byte{} {
		t.Error("the hash is that of nothing")
	}
}

// What stands in a trust text must be of use; each wrong text is signed, so
// that it is refused for what it says.
func TestTrustTextRefused(t *testing.T) {
	w := newWorld(t)
	text, err := w.trust.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	admin := "administrator " + w.trust.Administrators[0] + "\n"
	logKey := "log-key " + w.trust.LogKey + "\n"
	for _, bad := range [][2]string{
		{"pcr 14", "pcr 3"}, {"token emulated", "token real"}, {"head 25166080", "head 25166081"},
		{"cert " + base64.StdEncoding.EncodeToString([]byte("cert")), "cert -"}, {"\nak ", "\nak A"}, {"origin " + origin, "origin a.example"},
		{"origin", "Origin"}, {"version 1", "version 0"}, {"version 1", "version 2"}, {"version 1", "version 1048577"},
		{"previous 00", "previous 01"}, {"quorum 1", "quorum 0"}, {"quorum 1", "quorum 2"}, {"quorum 1", "quorum 17"},
		{admin, ""}, {admin, admin + admin}, {admin, strings.Repeat(admin, maxAdministrators+1)}, {admin, "administrator nobody\n"},
		{logKey, logKey + logKey}, {logKey, ""}, {logKey, logKey + "log-key " + w.trust.Administrators[0] + "\n"},
	} {
		mutant := strings.Replace(string(text), bad[0], bad[1], 1)
		if mutant == string(text) {
			t.Fatalf("%q is not in the text", bad[0])
		}
		msg, err := message.SignNote([]byte(mutant), w.logKey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenTrust(msg); err == nil {
			t.Errorf("%q was accepted", bad[1])
		}
	}
	if _, err := (&Trust{}).Sign(w.logKey); err == nil {
		t.Error("an empty trust was signed")
	}
}

func TestFirstTrustIsSignedByItsLogKey(t *testing.T) {
	w := newWorld(t)
	admin, _ := noteKey(t, "admin1", 2)
	other, _ := noteKey(t, origin, 9)
	text, err := w.trust.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	good := signed(t, &w.trust, w.logKey)
	for name, msg := range map[string][]byte{
		"nobody":              signed(t, &w.trust),
		"an administrator":    signed(t, &w.trust, admin),
		"both":                signed(t, &w.trust, w.logKey, admin),
		"another log key":     signed(t, &w.trust, other),
		"not a note":          text,
		"another certificate": bytes.Replace(good, []byte("cert Y2VydA=="), []byte("cert Y2VydB=="), 1),
		"huge":                make([]byte, MaxTrust+1),
	} {
		if _, err := OpenTrust(msg); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// team is three administrators and the trust that two of them must renew.
func team(t testing.TB, w *world) (signers []note.Signer, first *Trust) {
	tr := w.trust
	tr.Quorum, tr.Administrators = 2, nil
	for i, name := range []string{"admin1", "admin2", "admin3"} {
		s, v := noteKey(t, name, byte(2+i))
		signers, tr.Administrators = append(signers, s), append(tr.Administrators, v)
	}
	return signers, &tr
}

// next is the version after tr, the same otherwise.
func next(tr *Trust) *Trust {
	n := *tr
	n.Version, n.Previous = tr.Version+1, tr.Hash()
	n.OldLogKeys, n.Administrators = slices.Clone(tr.OldLogKeys), slices.Clone(tr.Administrators)
	return &n
}

func TestTrustSuccessor(t *testing.T) {
	w := newWorld(t)
	admins, first := team(t, w)
	newLog, newLogKey := noteKey(t, origin, 7)
	_, newcomer := noteKey(t, "admin4", 8)

	second := next(first)
	second.OldLogKeys, second.LogKey = []string{first.LogKey}, newLogKey
	second.Administrators[0] = newcomer
	got, err := first.Successor(signed(t, second, admins[0], admins[2]))
	if err != nil || got.LogKey != newLogKey || got.Administrators[0] != newcomer {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := OpenTrust(signed(t, second, admins[0], admins[2])); err != nil {
		t.Errorf("pinned by hand: %v", err)
	}
	third := next(got)
	third.Certs = [][]byte{[]byte("renewed"), []byte("backup")}
	if _, err := got.Successor(signed(t, third, admins[1], admins[2])); err != nil {
		t.Error(err)
	}
	if _, err := got.Successor(signed(t, third, admins[0], admins[1])); err == nil {
		t.Error("one who is no administrator any more signed")
	}
	// A checkpoint by either log key is good under the new version.
	old := w.commit(3, [32]byte{1})
	w.logKey, w.trust = newLog, *got
	for name, msg := range map[string][]byte{"old": old, "new": w.commit(5, [32]byte{2})} {
		if _, err := got.OpenCheckpoint(msg); err != nil {
			t.Errorf("checkpoint by the %s log key: %v", name, err)
		}
	}
	if _, err := first.OpenCheckpoint(w.commit(7, [32]byte{3})); err == nil {
		t.Error("the first version accepts a log key that it does not know")
	}
}

func TestTrustSuccessorRefused(t *testing.T) {
	w := newWorld(t)
	admins, first := team(t, w)
	for name, harm := range map[string]func(n *Trust){
		"same version":   func(n *Trust) { n.Version, n.Previous = 1, [32]byte{} },
		"version left":   func(n *Trust) { n.Version = 3 },
		"other previous": func(n *Trust) { n.Previous[0] ^= 1 },
		"origin": func(n *Trust) {
			n.Origin = "other.example"
			_, n.LogKey = noteKey(t, n.Origin, 1)
		},
		"attestation key": func(n *Trust) { n.AK = newWorld(t).trust.AK },
		"PCR":             func(n *Trust) { n.PCR = 13 },
		"genesis":         func(n *Trust) { n.Genesis[0] ^= 1 },
		"token":           func(n *Trust) { n.Emulated = false },
	} {
		n := next(first)
		harm(n)
		if _, err := first.Successor(signed(t, n, admins...)); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	stranger, _ := noteKey(t, "stranger", 9)
	for name, by := range map[string][]note.Signer{
		"nobody": nil, "one of two": admins[:1], "a stranger too": {admins[0], admins[1], stranger},
		"the log key": {w.logKey}, "two and the log key": {admins[0], admins[1], w.logKey},
	} {
		if _, err := first.Successor(signed(t, next(first), by...)); err == nil {
			t.Errorf("signed by %s: accepted", name)
		}
	}
	if _, err := first.Successor(nil); err == nil {
		t.Error("nothing was accepted")
	}
}

// rescued is team with three recovery keys, two of which replace administrators.
func rescued(t testing.TB, w *world) (admins, safes []note.Signer, first *Trust) {
	admins, first = team(t, w)
	first.RecoveryQuorum = 2
	for i, name := range []string{"safe1", "safe2", "safe3"} {
		s, v := noteKey(t, name, byte(20+i))
		safes, first.Recovery = append(safes, s), append(first.Recovery, v)
	}
	return admins, safes, first
}

// Recovery keys replace administrators whose keys are lost, so that somebody can
// sign the versions after; they change nothing else.
func TestTrustRecovery(t *testing.T) {
	w := newWorld(t)
	admins, safes, first := rescued(t, w)
	if _, err := OpenTrust(signed(t, first, w.logKey)); err != nil {
		t.Fatal(err)
	}
	newcomer, newcomerKey := noteKey(t, "admin4", 8)
	_, otherLog := noteKey(t, origin, 7)
	_, otherSafe := noteKey(t, "safe4", 30)
	team := func(n *Trust) { n.Quorum, n.Administrators = 1, []string{newcomerKey} }
	for name, c := range map[string]struct {
		harm func(n *Trust)
		by   []note.Signer
		want string // part of the error, "" for none
	}{
		"the quorum":                   {team, safes[:2], ""},
		"all of them":                  {team, safes, ""},
		"one of the quorum":            {team, safes[:1], "signed by 1"},
		"one and an administrator":     {team, []note.Signer{safes[0], admins[0]}, "not known"},
		"two and an administrator":     {team, []note.Signer{safes[0], safes[1], admins[0]}, "not known"},
		"two and the newcomer":         {team, []note.Signer{safes[0], safes[1], newcomer}, "not known"},
		"a log key too":                {func(n *Trust) { team(n); n.LogKey = otherLog }, safes, "keep the log keys"},
		"what old log keys signed too": {func(n *Trust) { team(n); n.OldLogKeys = []string{otherLog} }, safes, "keep the log keys"},
		"a certificate too":            {func(n *Trust) { team(n); n.Certs = [][]byte{[]byte("renewed")} }, safes, "keep the certificates"},
		"itself too":                   {func(n *Trust) { team(n); n.Recovery = append(slices.Clone(n.Recovery), otherSafe) }, safes, "keep the recovery keys"},
		"its quorum too":               {func(n *Trust) { team(n); n.RecoveryQuorum = 1 }, safes, "keep the recovery keys"},
		"the genesis":                  {func(n *Trust) { n.Genesis[0] ^= 1 }, safes, "never changes"},
		"no recovery, administrators":  {func(n *Trust) { n.RecoveryQuorum, n.Recovery = 0, nil }, admins[:2], ""},
		"other recovery, likewise":     {func(n *Trust) { n.RecoveryQuorum, n.Recovery = 1, []string{otherSafe} }, admins[:2], ""},
	} {
		n := next(first)
		c.harm(n)
		got, err := first.Successor(signed(t, n, c.by...))
		if c.want == "" && (err != nil || got.Quorum != n.Quorum || !slices.Equal(got.Recovery, n.Recovery)) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	second := next(first)
	team(second)
	by := signed(t, second, safes[1], safes[2])
	got, err := first.Successor(by)
	if err != nil || !first.Recovers(by) || first.Recovers(signed(t, second, admins...)) {
		t.Fatalf("%v", err)
	}
	third := next(got)
	third.Certs = [][]byte{[]byte("renewed")}
	if _, err := got.Successor(signed(t, third, newcomer)); err != nil {
		t.Errorf("who was named cannot go on: %v", err)
	}
	if _, err := got.Successor(signed(t, third, admins...)); err == nil {
		t.Error("those who were replaced can")
	}
	if _, err := w.trust.Successor(signed(t, next(&w.trust), safes...)); err == nil {
		t.Error("a version without recovery keys was followed by one that strangers signed")
	}
}

// Recovery keys stand in a text with their quorum or not at all.
func TestTrustRecoveryText(t *testing.T) {
	w := newWorld(t)
	_, _, first := rescued(t, w)
	text, err := first.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	line := "recovery " + first.Recovery[0] + "\n"
	for _, bad := range [][2]string{
		{"recovery-quorum 2", "recovery-quorum 0"}, {"recovery-quorum 2", "recovery-quorum 4"}, {"recovery-quorum 2\n", ""},
		{line, line + line}, {line, "recovery " + first.Administrators[0] + "\n"}, {line, "recovery nobody\n"}, {line, strings.Repeat(line, maxAdministrators+1)},
		{strings.Repeat(line, 1) + "recovery " + first.Recovery[1] + "\nrecovery " + first.Recovery[2] + "\n", ""},
	} {
		mutant := strings.Replace(string(text), bad[0], bad[1], 1)
		if mutant == string(text) {
			t.Fatalf("%q is not in the text", bad[0])
		}
		msg, err := message.SignNote([]byte(mutant), w.logKey)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := OpenTrust(msg); err == nil {
			t.Errorf("%q was accepted", bad[1])
		}
	}
}

func TestCheckpointByTwoLogKeys(t *testing.T) {
	w := newWorld(t)
	other, vkey := noteKey(t, origin, 7)
	body := ledger.CheckpointBody(origin, 3, [32]byte{1})
	msg, err := message.SignNote(body, w.logKey, other)
	if err != nil {
		t.Fatal(err)
	}
	w.trust.OldLogKeys = []string{vkey}
	if _, err := w.trust.OpenCheckpoint(msg); err == nil {
		t.Error("two log keys were taken for a log key and a TPM")
	}
}

func FuzzTrust(f *testing.F) {
	w := newWorld(f)
	admins, first := team(f, w)
	f.Add(signed(f, &w.trust, w.logKey))
	f.Add(signed(f, next(first), admins...))
	_, _, saved := rescued(f, w)
	f.Add(signed(f, saved, w.logKey))
	f.Fuzz(func(t *testing.T, msg []byte) {
		tr, err := OpenTrust(msg)
		if err != nil {
			return
		}
		text, err := message.NoteText(msg)
		if err != nil {
			t.Fatal(err)
		}
		again, err := tr.Marshal()
		if err != nil || !bytes.Equal(again, text) {
			t.Errorf("second encoding %q, %v", again, err)
		}
	})
}
