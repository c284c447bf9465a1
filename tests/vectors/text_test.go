package vectors

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
)

// problem names why a text, note or message was refused, "" if it was not.
func problem(err error) string {
	var text *canon.Error
	var signed *message.NoteError
	var state *hashstate.Error
	switch {
	case errors.As(err, &text):
		return string(text.Problem)
	case errors.As(err, &signed):
		return string(signed.Problem)
	case errors.As(err, &state):
		return string(state.Problem)
	case err != nil:
		return err.Error()
	}
	return ""
}

// marshaler is every text and message.
type marshaler interface{ Marshal() []byte }

func parseText(form string, b []byte) (m marshaler, err error) {
	switch form {
	case "approval":
		m, err = message.ParseApproval(b)
	case "submission":
		m, err = message.ParseSubmission(b)
	case "hello":
		m, err = message.ParseHello(b)
	case "cancel":
		m, err = message.ParseCancel(b)
	case "rounds":
		m, err = message.ParseRounds(b)
	default:
		err = fmt.Errorf("no form %q", form)
	}
	return m, err
}

func TestTexts(t *testing.T) {
	run(t, "texts.txt", func(t *testing.T, v vector) {
		b := v.get("bytes").bytes
		m, err := parseText(v.get("form").text, b)
		if v.refused(t, problem(err)) {
			return
		}
		if got := m.Marshal(); !bytes.Equal(got, b) {
			t.Errorf("parsed and marshalled again:\n%s", got)
		}
		v.fields(t, m)
		if job := v.get("job").text; job != "" && message.JobOf(b).String() != job {
			t.Errorf("job %s", message.JobOf(b))
		}
	})
}

// fields compares what was read with what the vector says.
func (v vector) fields(t *testing.T, m marshaler) {
	t.Helper()
	if got, want := fieldsOf(m), v.texts("field"); !slices.Equal(got, want) {
		t.Errorf("read:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// fieldsOf tells what was read as README.md describes it.
func fieldsOf(m marshaler) []string {
	head := func(size uint64, root [32]byte) string { return fmt.Sprintf("%d %x", size, root) }
	switch m := m.(type) {
	case message.Approval:
		out := []string{"origin " + m.Origin, "class " + m.Class, fmt.Sprintf("nonce %x", m.Nonce), "not-after " + canon.Time(m.NotAfter)}
		for _, i := range m.Items {
			out = append(out, fmt.Sprintf("item %s %s %d %s", i.Format, i.Digest, i.Size, i.Name))
		}
		return out
	case message.Submission:
		return []string{"approval " + m.Approval.String(), "head " + head(m.HeadSize, m.HeadRoot), "host-time " + canon.Time(m.HostTime)}
	case *message.Hello:
		return []string{"origin " + m.Origin, fmt.Sprintf("nonce %x", m.Nonce), "host-time " + canon.Time(m.HostTime), "head " + head(m.HeadSize, m.HeadRoot)}
	case *message.HelloNote:
		return fieldsOf(&m.Hello)
	case *message.Cancel:
		return []string{"origin " + m.Origin, "job " + m.Job.String(), "host-time " + canon.Time(m.HostTime)}
	case *message.CancelNote:
		return fieldsOf(&m.Cancel)
	case *message.Rounds:
		out := []string{"origin " + m.Origin, "host-time " + canon.Time(m.HostTime)}
		for _, r := range m.Rounds {
			next := "-"
			if !r.Next.IsZero() {
				next = canon.Time(r.Next)
			}
			out = append(out, fmt.Sprintf("round %s %d %s %s %s", r.Rule, r.Files, r.State, canon.Time(r.Since), next))
		}
		return append(out, fmt.Sprint("more ", m.More))
	case *message.RoundsNote:
		return fieldsOf(&m.Rounds)
	case *message.Submit:
		out := []string{block("approval", m.Approval), block("submission", m.Submission)}
		for _, c := range m.Contents {
			if c.Document != nil {
				out = append(out, "document "+hex.EncodeToString(c.Document))
			} else {
				out = append(out, "state "+hex.EncodeToString(c.State))
			}
		}
		return out
	case *message.Mirrored:
		return []string{"size " + head(m.Size, m.Root)}
	case *message.Challenge:
		return []string{block("challenge", m.Text)}
	case *message.Fetch:
		return []string{fmt.Sprint("from ", m.From)}
	default:
		return fieldsFromBoard(m)
	}
}

func fieldsFromBoard(m marshaler) []string {
	switch m := m.(type) {
	case *message.Welcome:
		fields := []string{fmt.Sprintf("nonce %x", m.Nonce), "origin " + m.Origin, "firmware " + m.Firmware, fmt.Sprintf("policy %x", m.Policy),
			"time " + canon.Time(m.Time), "state " + m.State, "halt " + cmp.Or(m.Halt, "-"), fmt.Sprint("wear ", m.Writes, " ", strings.Replace(strconv.Itoa(m.Days), "-1", "-", 1)), fmt.Sprint("total ", m.Total), "attest " + bytesOf(m.Attest) + " " + bytesOf(m.Sig)}
		if m.Checkpoint != nil {
			fields = append(fields, block("checkpoint", m.Checkpoint))
		}
		return fields
	case *message.Entries:
		out := []string{fmt.Sprint("start ", m.Start), fmt.Sprint("total ", m.Total)}
		for _, e := range m.Entries {
			out = append(out, block("entry", e))
		}
		return out
	case *message.Checkpoint:
		return []string{block("note", m.Note)}
	case *message.Order:
		return []string{block("note", m.Note)}
	case *message.Event:
		return []string{"job " + m.Job.String(), "state " + m.State, fmt.Sprint("item ", m.Item), fmt.Sprint("seconds ", m.Seconds)}
	case *message.Refused:
		return []string{"job " + m.Job.String(), "code " + m.Code, "text " + bytesOf([]byte(m.Text))}
	case *message.Done:
		return []string{"job " + m.Job.String(), fmt.Sprint("intent ", m.Intent), fmt.Sprint("outcome ", m.Outcome)}
	case *message.Answer:
		return []string{block("answer", m.Text)}
	case *message.OpenRound:
		return []string{"rule " + m.Rule}
	default:
		return []string{fmt.Sprintf("%T", m)}
	}
}

func block(key string, b []byte) string { return fmt.Sprintf("%s sha256:%x", key, sha256.Sum256(b)) }

func bytesOf(b []byte) string {
	if len(b) == 0 {
		return "-"
	}
	return hex.EncodeToString(b)
}

// testKey is the key of that name: its seed is the hash of a phrase with the name.
func testKey(t *testing.T, name string) (note.Signer, string) {
	t.Helper()
	seed := sha256.Sum256([]byte("touchmark test key " + name))
	public := ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey)
	vkey, err := note.NewEd25519VerifierKey(name, public)
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Split(strings.TrimPrefix(vkey, name+"+"), "+")[0]
	signer, err := note.NewSigner("PRIVATE+KEY+" + name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, seed[:]...)))
	if err != nil {
		t.Fatal(err)
	}
	return signer, vkey
}

func TestKeys(t *testing.T) {
	run(t, "keys.txt", func(t *testing.T, v vector) {
		_, err := message.ParseKey(v.get("vkey").text)
		if v.refused(t, problem(err)) {
			return
		}
		if _, vkey := testKey(t, v.get("name").text); vkey != v.get("vkey").text {
			t.Errorf("made from the seed: %s", vkey)
		}
	})
}

func TestNotes(t *testing.T) {
	run(t, "notes.txt", func(t *testing.T, v vector) {
		var known []note.Verifier
		for _, vkey := range v.texts("key") {
			k, err := message.ParseKey(vkey)
			if err != nil {
				t.Fatal(err)
			}
			known = append(known, k)
		}
		in := v.get("note").bytes
		text, by, err := message.OpenNote(in, known)
		if v.refused(t, problem(err)) {
			return
		}
		if !bytes.Equal(text, v.get("text").bytes) {
			t.Errorf("text %q", text)
		}
		var signers []note.Signer
		var names []string
		for _, i := range by {
			s, _ := testKey(t, known[i].Name())
			signers, names = append(signers, s), append(names, fmt.Sprint(i))
		}
		if want := v.texts("by"); !slices.Equal(names, want) {
			t.Errorf("signed by %v, want %v", names, want)
		}
		sameNote(t, in, text, signers)
	})
}

// sameNote signs the text again, which must give the note, but for the order of its lines.
func sameNote(t *testing.T, in, text []byte, signers []note.Signer) {
	t.Helper()
	again, err := message.SignNote(text, signers...)
	if err != nil {
		t.Fatal(err)
	}
	lines := func(note []byte) []string { return slices.Sorted(strings.Lines(string(note))) }
	if !slices.Equal(lines(again), lines(in)) {
		t.Errorf("signed again:\n%s", again)
	}
}

func TestMessages(t *testing.T) {
	run(t, "messages.txt", func(t *testing.T, v vector) {
		b := v.get("bytes").bytes
		if v.get("to").text == "host" {
			plain, err := message.NewUnpacker().Unpack(b)
			if err != nil {
				v.refused(t, problem(err))
				return
			}
			b = plain
		}
		m, err := message.Parse(b)
		if v.refused(t, problem(err)) {
			return
		}
		got := m.(marshaler)
		if again := got.Marshal(); !bytes.Equal(again, b) {
			t.Errorf("parsed and marshalled again:\n%s", again)
		}
		v.fields(t, got)
	})
}

func TestDocuments(t *testing.T) {
	run(t, "documents.txt", func(t *testing.T, v vector) {
		format, ok := sigformat.FormatOf(v.get("format").text)
		if !ok {
			t.Fatalf("no format %s", v.get("format").text)
		}
		refused := ""
		doc, err := format.DocumentOf(v.get("file").bytes)
		if err != nil {
			refused = message.CodeBadDocument
		}
		if !v.refused(t, refused) && !bytes.Equal(doc, v.get("document").bytes) {
			t.Errorf("it is over %q", doc)
		}
	})
}

func TestStates(t *testing.T) {
	run(t, "states.txt", func(t *testing.T, v vector) {
		alg := message.Alg(v.get("algorithm").text)
		b := v.get("state").bytes
		s, err := hashstate.Parse(alg, b)
		if v.refused(t, problem(err)) {
			return
		}
		if fmt.Sprint(s.Count()) != v.get("count").text || hex.EncodeToString(s.Digest()) != v.get("digest").text || !bytes.Equal(s.Bytes(), b) {
			t.Errorf("count %d, digest %x, bytes %x", s.Count(), s.Digest(), s.Bytes())
		}
	})
}
