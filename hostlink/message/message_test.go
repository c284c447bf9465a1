package message

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode"

	"pgregory.net/rapid"

	"touchmark/hostlink/message/canon"
)

func TestEverySampleIsReadAndWrittenAlike(t *testing.T) {
	for name, b := range samples() {
		got, err := remarshal(b)
		if err != nil || !bytes.Equal(got, b) {
			t.Errorf("%s: error %v, wrote\n%s\nwant\n%s", name, err, got, b)
		}
	}
}

func TestParseGivesTheFields(t *testing.T) {
	w := wire()
	if m := mustParse[*HelloNote](t, w["hello"]); m.Hello.HeadSize != 42 || m.Hello.HeadRoot != sampleRoot || m.Hello.Nonce[2] != 3 {
		t.Errorf("hello %+v", m.Hello)
	}
	if m := mustParse[*CancelNote](t, w["cancel"]); m.Cancel.Job != sampleJob {
		t.Errorf("cancel %+v", m.Cancel)
	}
	if m := mustParse[*RoundsNote](t, w["rounds"]).Rounds; m.More != 1 || len(m.Rounds) != 2 || m.Rounds[0].Rule != "core" || m.Rounds[0].Files != 2 ||
		m.Rounds[1].State != RoundOpen || !m.Rounds[1].Next.IsZero() || !m.Rounds[0].Next.Equal(noon.Add(6*time.Hour)) {
		t.Errorf("rounds %+v", m)
	}
	if m := mustParse[*OpenRound](t, w["open-round"]); m.Rule != "core" {
		t.Errorf("open-round %+v", m)
	}
	if m := mustParse[*Welcome](t, w["welcome"]); m.Total != 44 || m.State != StateReady || string(m.Attest) != "an attestation" || !m.Time.Equal(noon) {
		t.Errorf("welcome %+v", m)
	}
	if m := mustParse[*Entries](t, w["entries"]); m.Start != 42 || len(m.Entries) != 2 || string(m.Entries[1]) != "touchmark/entry/v1\nkind example\n" {
		t.Errorf("entries %+v", m)
	}
	if m := mustParse[*Event](t, w["event"]); m.Item != 1 || m.Seconds != 15 || m.State != "touch" {
		t.Errorf("event %+v", m)
	}
	if m := mustParse[*Refused](t, w["refused"]); m.Code != CodeNameForbidden || !strings.HasPrefix(m.Text, "demo.iso") {
		t.Errorf("refused %+v", m)
	}
	sub := mustParse[*Submit](t, w["submit"])
	text, err := NoteText(sub.Approval)
	if err != nil || JobOf(text) != sampleJob || len(sub.Contents) != 2 {
		t.Errorf("submit %+v, %v", sub, err)
	}
	a, err := ParseApproval(text)
	if err != nil || !reflect.DeepEqual(a, sampleApproval) {
		t.Errorf("approval %+v, %v", a, err)
	}
}

// The job is SHA-256 of the text alone: approvals change nothing.
func TestJobIdentity(t *testing.T) {
	text := sampleApproval.Marshal()
	for _, n := range [][]byte{signed(text), signed(text, alice.Signer), signed(text, alice.Signer, repo2.Signer)} {
		got, err := NoteText(n)
		if err != nil || JobOf(got) != sampleJob {
			t.Errorf("job %v, error %v", JobOf(got), err)
		}
	}
	other := sampleApproval
	other.Nonce[0]++
	if JobOf(other.Marshal()) == sampleJob {
		t.Error("another nonce is the same job")
	}
	if id, err := ParseJobID(sampleJob.String()); err != nil || id != sampleJob {
		t.Errorf("ParseJobID: %v, %v", id, err)
	}
	for _, bad := range []string{"", "00", strings.ToUpper(sampleJob.String()), sampleJob.String() + "00", " " + sampleJob.String()[1:]} {
		if _, err := ParseJobID(bad); err == nil {
			t.Errorf("accepted job %q", bad)
		}
	}
}

// Every flipped bit of every sample is refused or read as what is written
// exactly so: nothing has two encodings.
func TestEveryBitFlip(t *testing.T) {
	for name, b := range samples() {
		for i := range b {
			for bit := range 8 {
				c := bytes.Clone(b)
				c[i] ^= 1 << bit
				if got, err := remarshal(c); err == nil && !bytes.Equal(got, c) {
					t.Fatalf("%s byte %d bit %d: read %q, written %q", name, i, bit, c, got)
				}
			}
		}
	}
}

func TestEveryTruncation(t *testing.T) {
	for name, b := range samples() {
		for i := range b {
			got, err := remarshal(b[:i])
			if err == nil && !bytes.Equal(got, b[:i]) {
				t.Fatalf("%s: the first %d bytes read as %q", name, i, got)
			}
		}
	}
}

// problemOf is the name of what is wrong.
func problemOf(err error) any {
	var text *canon.Error
	var n *NoteError
	switch {
	case errors.As(err, &text):
		return text.Problem
	case errors.As(err, &n):
		return n.Problem
	}
	return nil
}

func TestRefusedApprovals(t *testing.T) {
	good := string(sampleApproval.Marshal())
	item := good[strings.Index(good, "item "):]
	item = item[:strings.Index(item, "\n")+1]
	edit := func(old, new string) string {
		if !strings.Contains(good, old) {
			t.Fatalf("%q is not in the sample", old)
		}
		return strings.Replace(good, old, new, 1)
	}
	var many strings.Builder
	for i := range MaxItems - 1 {
		many.WriteString(strings.Replace(item, "demo.db", "demo"+string(rune('a'+i))+".db", 1))
	}
	cases := map[string]struct {
		b    string
		want any // a canon.Problem or a NoteProblem
	}{
		"submission instead":     {string(Submission{HostTime: noon}.Marshal()), canon.OtherDomain},
		"no items":               {good[:strings.Index(good, "item ")], canon.CutOff},
		"17 items":               {good + many.String(), canon.BadValue},
		"same name twice":        {good + item, canon.BadValue},
		"unknown algorithm":      {edit("sha256:", "sha1:"), canon.BadValue},
		"algorithm in uppercase": {edit("sha256:", "SHA256:"), canon.BadValue},
		"digest too short":       {edit("sha256:35", "sha256:"), canon.BadValue},
		"digest of the other":    {edit("sha256:", "sha512:"), canon.BadValue},
		"digest in uppercase":    {edit("sha256:3549b", "sha256:3549B"), canon.BadValue},
		"size with zero":         {edit(" 12345 ", " 012345 "), canon.BadNumber},
		"size too large":         {edit(" 12345 ", " 2305843009213689856 "), canon.TooLarge},
		"size negative":          {edit(" 12345 ", " -1 "), canon.BadNumber},
		"format in uppercase":    {edit("openpgp-binary", "OpenPGP-binary"), canon.BadValue},
		"class in uppercase":     {edit("pacman-db", "Pacman-DB"), canon.BadValue},
		"class with slash":       {edit("pacman-db", "pacman/db"), canon.BadValue},
		"short nonce":            {edit("nonce a0", "nonce "), canon.BadHex},
		"origin uppercase":       {edit("touchmark.example", "Touchmark.example"), canon.BadValue},
		"escape in name":         {edit("demo.db.tar.gz", "demo\x1b[31m.db"), canon.BadField},
		"homoglyph in name":      {edit("demo.db.tar.gz", "d\u0435mo.db.tar.gz"), canon.BadField},
		"override in name":       {edit("demo.db.tar.gz", "demo\u202e.db"), canon.BadField},
		"option as name":         {edit("demo.db.tar.gz", "-demo.db"), canon.BadValue},
		"escape of directory":    {edit("demo.db.tar.gz", "../demo.db"), canon.BadValue},
		"unknown line":           {edit("class ", "klass "), canon.WrongLine},
		"second class":           {edit("class pacman-db\n", "class pacman-db\nclass pacman-db\n"), canon.WrongLine},
		"surplus field":          {edit("demo.db.tar.gz", "demo.db.tar.gz x"), canon.FieldCount},
		"huge":                   {good + strings.Repeat(item, 1000), canon.TooLong},
	}
	for name, c := range cases {
		if a, err := ParseApproval([]byte(c.b)); problemOf(err) != c.want {
			t.Errorf("%s: %+v, %v, want %s", name, a, err, c.want)
		}
	}
	for name, a := range map[string]Approval{
		"name with space": {Origin: "a", Class: "b", NotAfter: noon, Items: []Item{{"f", digestOf(SHA256, ""), 1, "a b"}}},
		"empty name":      {Origin: "a", Class: "b", NotAfter: noon, Items: []Item{{"f", digestOf(SHA256, ""), 1, ""}}},
		"empty origin":    {Class: "b", NotAfter: noon},
	} {
		if b := a.Marshal(); b != nil {
			t.Errorf("%s: written as %q", name, b)
		}
	}
}

func TestSixteenItemsFitAndPass(t *testing.T) {
	a := sampleApproval
	a.Origin = "a." + strings.Repeat("b", MaxOrigin-2)
	a.Items = nil
	for i := range MaxItems {
		a.Items = append(a.Items, Item{"openpgp-binary", digestOf(SHA512, "x"), MaxItemSize, strings.Repeat("n", MaxName-1) + string(rune('a'+i))})
	}
	got, err := ParseApproval(a.Marshal())
	if err != nil || !reflect.DeepEqual(got, a) {
		t.Fatalf("the largest approval: %v", err)
	}
	if n := signed(a.Marshal(), alice.Signer, repo1.Signer); len(n) > MaxNote {
		t.Errorf("its note has %d bytes", len(n))
	}
}

// TestLargestSubmit: what the bounds allow together fits one message.
func TestLargestSubmit(t *testing.T) {
	note := append(bytes.Repeat([]byte("n"), MaxNote-1), '\n')
	m := &Submit{Approval: note, Submission: note}
	for i := range MaxItems {
		c := Content{State: make([]byte, MaxState)}
		if i < MaxDocuments/MaxDocument {
			c = Content{Document: make([]byte, MaxDocument)}
		}
		m.Contents = append(m.Contents, c)
	}
	if got := mustParse[*Submit](t, m.Marshal()); !reflect.DeepEqual(got, m) {
		t.Error("it is read as another one")
	}
}

func TestEntriesOverhead(t *testing.T) {
	m := &Entries{Start: MaxTreeSize, Total: MaxTreeSize}
	sum := 0
	for range MaxEntries {
		e := append(bytes.Repeat([]byte("e"), 1999), '\n')
		m.Entries, sum = append(m.Entries, e), sum+len(e)
	}
	if n := len(m.Marshal()); n == 0 || n > EntriesOverhead+12*MaxEntries+sum {
		t.Errorf("%d bytes, promised at most %d", n, EntriesOverhead+12*MaxEntries+sum)
	}
	big := append(bytes.Repeat([]byte("e"), MaxEntry-1), '\n')
	b := (&Entries{Total: 2, Entries: [][]byte{big, big}}).Marshal()
	if got := mustParse[*Entries](t, b); len(got.Entries) != 2 {
		t.Error("two of the largest entries do not fit one message")
	}
}

func TestRefusedTextIsMadePrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                    "plain",
		"two\nlines\x1b[2J":        "two?lines?[2J",
		"bad \xff byte":            "bad ? byte",
		"right\u202eleft":          "right?left",
		"Größe\u00a0≤ 1 µm":        "Größe?≤ 1 µm",
		"a\x7fb":                   "a?b",
		strings.Repeat("€", 1000):  strings.Repeat("€", MaxHuman/3),
		strings.Repeat("x", 10000): strings.Repeat("x", MaxHuman),
		"":                         "",
	} {
		got := mustParse[*Refused](t, (&Refused{sampleJob, CodeBusy, in}).Marshal())
		if got.Text != want {
			t.Errorf("%.40q became %.40q", in, got.Text)
		}
	}
}

// TestPrintableIsFixed: docs/spec/message.md fixes which characters are printable;
// another release of Go with newer tables must not change it unnoticed.
func TestPrintableIsFixed(t *testing.T) {
	if unicode.Version != "15.0.0" {
		t.Errorf("this Go knows Unicode %s, the specification is of 15.0: keep to its tables", unicode.Version)
	}
	for s, want := range map[string]bool{
		"a b": true, "ä€日ß\u0301": true, "": false, "\u00a0": false, "\u00ad": false, "\u200b": false, "\u2028": false, "\u202e": false,
		"\ufeff": false, "\ue000": false, "\ufffd": false, "\U0001f642": true, "\U000e0041": false, "\u0378": false, "\xc3": false,
	} {
		if ValidHuman(s) != want {
			t.Errorf("%+q: %v", s, !want)
		}
	}
}

func TestTimesAreWholeSeconds(t *testing.T) {
	s := Submission{HostTime: noon.Add(999 * time.Millisecond).In(time.FixedZone("x", 7200))}
	got, err := ParseSubmission(s.Marshal())
	if err != nil || !got.HostTime.Equal(noon) || got.HostTime.Location() != time.UTC {
		t.Errorf("%v, %v", got.HostTime, err)
	}
}

func TestPropertyApprovals(t *testing.T) {
	name := rapid.StringMatching(`[A-Za-z0-9_][A-Za-z0-9_+@:~-]{0,20}(\.[a-z]{1,3})?(/[a-z0-9]{1,9}){0,2}`)
	item := rapid.Custom(func(t *rapid.T) Item {
		alg := rapid.SampledFrom([]Alg{SHA256, SHA512}).Draw(t, "alg")
		return Item{
			Format: rapid.StringMatching(`[a-z][a-z0-9-]{0,20}`).Draw(t, "format"),
			Digest: Digest{alg, rapid.SliceOfN(rapid.Byte(), alg.Size(), alg.Size()).Draw(t, "sum")},
			Size:   rapid.Uint64Max(MaxItemSize).Draw(t, "size"), Name: name.Draw(t, "name"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		a := Approval{
			Origin: rapid.StringMatching(`[a-z0-9]{1,9}(\.[a-z0-9]{1,9}){0,2}(/[A-Za-z0-9_~-]{1,9}){0,2}`).Draw(t, "origin"),
			Class:  rapid.StringMatching(`[a-z0-9][a-z0-9._-]{0,63}`).Draw(t, "class"),
			Nonce:  [16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "nonce")), NotAfter: noon.Add(time.Duration(rapid.Int64Range(-1e8, 1e9).Draw(t, "seconds")) * time.Second),
			Items: rapid.SliceOfNDistinct(item, 1, MaxItems, func(it Item) string { return it.Name }).Draw(t, "items"),
		}
		got, err := ParseApproval(a.Marshal())
		if err != nil || !reflect.DeepEqual(got, a) {
			t.Fatalf("%v: %+v became %+v", err, a, got)
		}
	})
}

// FuzzParse: no input crashes, and what is accepted is written byte for byte.
func FuzzParse(f *testing.F) {
	for _, b := range wire() {
		f.Add(b)
	}
	f.Add((&Submit{Approval: []byte("a\n"), Submission: []byte("s\n"), Contents: []Content{{Document: []byte("{}")}, {State: []byte{1}}}}).Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if got := m.(interface{ Marshal() []byte }).Marshal(); !bytes.Equal(got, b) {
			t.Fatalf("read %q, written %q", b, got)
		}
	})
}

// FuzzTexts: the signed texts, without their notes.
func FuzzTexts(f *testing.F) {
	f.Add(sampleApproval.Marshal())
	f.Add(Submission{sampleJob, 42, sampleRoot, noon}.Marshal())
	f.Add((&Hello{Origin: "a.example", HostTime: noon}).Marshal())
	f.Add((&Cancel{Origin: "a.example", HostTime: noon}).Marshal())
	f.Add((&Rounds{Origin: "a.example", HostTime: noon, Rounds: []Round{{"core", 2, RoundWaiting, noon, time.Time{}}}, More: 3}).Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		check := func(got []byte, err error) {
			if err == nil && !bytes.Equal(got, b) {
				t.Fatalf("read %q, written %q", b, got)
			}
		}
		a, err := ParseApproval(b)
		check(a.Marshal(), err)
		s, err := ParseSubmission(b)
		check(s.Marshal(), err)
		if h, err := ParseHello(b); err == nil {
			check(h.Marshal(), nil)
		}
		if c, err := ParseCancel(b); err == nil {
			check(c.Marshal(), nil)
		}
		if r, err := ParseRounds(b); err == nil {
			check(r.Marshal(), nil)
		}
	})
}
