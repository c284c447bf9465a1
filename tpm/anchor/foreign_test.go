package anchor

import (
	"bytes"
	"testing"
)

// TestAttestedCheckpoint: of a checkpoint by a log key that the trust does not
// name the TPM's word alone counts; nothing else passes.
func TestAttestedCheckpoint(t *testing.T) {
	w := newWorld(t)
	pinned := w.trust
	signer, vkey := noteKey(t, origin, 9)
	w.logKey, w.trust.LogKey, w.trust.OldLogKeys = signer, vkey, []string{pinned.LogKey}
	msg := w.commit(7, [32]byte{1})
	cp, err := pinned.AttestedCheckpoint(msg)
	if err != nil || cp.Size != 7 || cp.Root != [32]byte{1} || cp.Head != w.tpm.Head {
		t.Fatalf("%+v, %v", cp, err)
	}
	if _, err := pinned.OpenCheckpoint(msg); err == nil {
		t.Fatal("opened by a key that is not known")
	}
	if _, err := w.trust.AttestedCheckpoint(msg); err == nil {
		t.Error("one by a known key is strange")
	}
	other := newWorld(t)
	for name, bad := range map[string][]byte{
		"another TPM":    other.commit(7, [32]byte{1}),
		"one line":       msg[:bytes.LastIndex(msg, []byte("\u2014 "))],
		"too long":       append(bytes.Clone(msg), make([]byte, 1<<14)...),
		"another size":   bytes.Replace(msg, []byte("\n7\n"), []byte("\n8\n"), 1),
		"another origin": bytes.ReplaceAll(msg, []byte(origin), []byte("touchmark.example/dema")),
	} {
		if _, err := pinned.AttestedCheckpoint(bad); err == nil {
			t.Errorf("%s: attested", name)
		}
	}
}
