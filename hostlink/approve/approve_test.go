package approve

import (
	"crypto/sha256"
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"touchmark/hostlink/message"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

func item(name, content string) message.Item {
	sum := sha256.Sum256([]byte(content))
	return message.Item{Format: "openpgp-binary", Digest: message.Digest{Alg: message.SHA256, Sum: sum[:]}, Size: uint64(len(content)), Name: name}
}

func request(t testing.TB, items ...message.Item) *Request {
	t.Helper()
	a := message.Approval{Origin: "touchmark.example/a", Class: "iso", NotAfter: noon.Add(time.Hour), Items: items}
	n, err := message.SignNote(a.Marshal())
	if err != nil {
		t.Fatal(err)
	}
	r, err := Read(n)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func own(content string) Own {
	return func(it message.Item) (message.Digest, uint64, error) {
		i := item("", content)
		return i.Digest, i.Size, nil
	}
}

func TestCheck(t *testing.T) {
	r := request(t, item("a", "a"))
	good := Meant{"touchmark.example/a", "iso", noon}
	for name, c := range map[string]struct {
		change func(*Meant)
		want   string
	}{
		"good":          {func(*Meant) {}, ""},
		"at its end":    {func(m *Meant) { m.Now = noon.Add(time.Hour) }, ""},
		"late":          {func(m *Meant) { m.Now = noon.Add(time.Hour + time.Second) }, "was good until 2026-11-22T13:00:00Z"},
		"another log":   {func(m *Meant) { m.Origin = "touchmark.example/b" }, "asks another appliance"},
		"another class": {func(m *Meant) { m.Class = "package" }, "is for class iso, not package"},
	} {
		m := good
		c.change(&m)
		err := r.Check(m)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRead(t *testing.T) {
	text, err := message.SignNote([]byte("hello\n"))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range [][]byte{nil, []byte("x"), text} {
		if _, err := Read(n); err == nil {
			t.Errorf("%q was read", n)
		}
	}
	r := request(t, item("a", "content"))
	lines := strings.Join(r.Lines(), "\n")
	for _, part := range []string{r.Job.String(), "log touchmark.example/a, class iso, good until 2026-11-22T13:00:00Z", "a as openpgp-binary, 7 bytes, sha256:"} {
		if !strings.Contains(lines, part) {
			t.Errorf("%q is not in\n%s", part, lines)
		}
	}
}

// A request is approved if and only if the approver has exactly its files, each
// with the very bytes.
func TestCompare(t *testing.T) {
	contents := rapid.MapOfN(rapid.StringMatching("[a-f]"), rapid.StringMatching("[xy]{0,3}"), 1, 5)
	rapid.Check(t, func(rt *rapid.T) {
		theirs, mine := contents.Draw(rt, "theirs"), contents.Draw(rt, "mine")
		if rapid.Bool().Draw(rt, "same") {
			mine = theirs
		}
		var items []message.Item
		copies := map[string]Own{}
		same := len(mine) == len(theirs)
		for name, content := range theirs {
			items = append(items, item(name, content))
			other, ok := mine[name]
			same = same && ok && other == content
		}
		for name, content := range mine {
			copies[name] = own(content)
		}
		err := request(t, items...).Compare(copies)
		if same != (err == nil) {
			rt.Fatalf("theirs %v, mine %v: %v", theirs, mine, err)
		}
	})
}

func TestCompareSays(t *testing.T) {
	r := request(t, item("a", "good"))
	err := r.Compare(map[string]Own{"a": own("evil")})
	if !errors.Is(err, ErrDiffers) || !strings.Contains(err.Error(), "DO NOT APPROVE") {
		t.Error(err)
	}
	broken := errors.New("broken disk")
	err = r.Compare(map[string]Own{"a": func(message.Item) (message.Digest, uint64, error) { return message.Digest{}, 0, broken }})
	if !errors.Is(err, broken) {
		t.Error(err)
	}
}
