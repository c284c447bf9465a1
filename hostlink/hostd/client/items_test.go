package client

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

const (
	release = "Suite: stable\nDate: Sat, 21 Nov 2026 12:00:00 UTC\nSHA256:\n e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/Packages\n"
	link    = `{ "_type": "link", "byproducts": {}, "command": [], "environment": {}, "materials": {}, "name": "build", "products": {} }`
)

// chatty is a link of a command that wrote so much.
func chatty(n int) string {
	return strings.Replace(link, `"byproducts": {}`, `"byproducts": {"stdout": "`+strings.Repeat("x", n)+`"}`, 1)
}

// fileOf is a file of this content; what its Read gives may be another by now.
func fileOf(t *testing.T, name, format, content string, now func() ([]byte, error)) File {
	t.Helper()
	f, ok := sigformat.FormatOf(format)
	if !ok {
		t.Fatal(format)
	}
	st, err := f.Digest(message.SHA256, strings.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	if now == nil {
		now = func() ([]byte, error) { return []byte(content), nil }
	}
	return File{Name: name, Format: f, State: st, Read: now}
}

// TestItems: a document goes where it is demanded, and of a Release file that can
// be read; a hash state for everything else, and nothing is read for it.
func TestItems(t *testing.T) {
	unread := func() ([]byte, error) { return nil, errors.New("it was read") }
	for _, c := range []struct {
		name, format, content string
		read                  func() ([]byte, error)
		document              string
	}{
		{"core.db", "openpgp-binary", release, unread, ""},
		{"a.link", "in-toto-native", link, nil, strings.ReplaceAll(link, " ", "")},
		{"Release", "openpgp-binary", release, nil, release},
		{"dists/x/Release", "openpgp-cleartext", release, nil, strings.TrimSuffix(strings.ReplaceAll(release, "\n", "\r\n"), "\r\n")},
		{"Release", "openpgp-text", release, nil, strings.ReplaceAll(release, "\n", "\r\n")},
		{"Release", "openpgp-binary", "no Release file\n", nil, ""},
		{"Release", "openpgp-binary", strings.Repeat("x", message.MaxDocument+1), unread, ""},
		{"Release", "openpgp-binary", release, unread, ""},
		{"Release", "sshsig-file", release, unread, ""},
		{"Release", "raw-boot", release, unread, ""},
	} {
		f := fileOf(t, c.name, c.format, c.content, c.read)
		items, err := Items([]File{f})
		if err != nil {
			t.Errorf("%s as %s: %v", c.name, c.format, err)
			continue
		}
		it := items[0]
		if string(it.Document) != c.document || (it.State == nil) != (c.document != "") || it.Size != f.State.Count() {
			t.Errorf("%s as %s: %+v", c.name, c.format, it)
		}
		if c.document == "" && !bytes.Equal(it.State, f.State.Bytes()) {
			t.Errorf("%s as %s: another state", c.name, c.format)
		}
	}
}

func TestItemsRefuse(t *testing.T) {
	gone := func() ([]byte, error) { return nil, os.ErrNotExist }
	other := func() ([]byte, error) { return []byte(strings.Replace(link, "build", "other", 1)), nil }
	big := `{"_type":"link","name":"` + strings.Repeat("x", message.MaxDocument) + `"}`
	half := chatty(24 << 10)
	for name, files := range map[string][]File{
		"changed in the meantime": {fileOf(t, "a.link", "in-toto-native", link, other)},
		"file does not exist":     {fileOf(t, "a.link", "in-toto-native", link, gone)},
		"the appliance reads":     {fileOf(t, "a.link", "in-toto-native", big, nil)},
		"is no type of metadata":  {fileOf(t, "a.link", "in-toto-native", `{"_type":"root"}`, nil)},
		"separate calls": {fileOf(t, "a", "in-toto-native", half, nil), fileOf(t, "b", "in-toto-native", half, nil),
			fileOf(t, "c", "in-toto-native", half, nil)},
	} {
		_, err := Items(files)
		if err == nil || !strings.Contains(err.Error(), name) || api.CodeOf(err, 0) != api.BadInput {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestItemsShareTheRoom: what must be a document has its room first; of what may
// be one as many are as fit, the others are states.
func TestItemsShareTheRoom(t *testing.T) {
	long := release
	for i := 0; len(long) < 20<<10; i++ {
		long += fmt.Sprintf(" e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 main/file-%d\n", i)
	}
	files := []File{fileOf(t, "a/Release", "openpgp-binary", long, nil), fileOf(t, "b/Release", "openpgp-binary", long, nil), fileOf(t, "c/Release", "openpgp-binary", long, nil),
		fileOf(t, "d/Release", "openpgp-binary", long, nil), fileOf(t, "a.link", "in-toto-native", chatty(20<<10), nil)}
	items, err := Items(files)
	if err != nil {
		t.Fatal(err)
	}
	sum, documents := 0, 0
	for i, it := range items {
		if sum += len(it.Document); it.Document != nil {
			documents++
		}
		if why := files[i].Unshown(it); (why == nil) != (it.Document != nil) {
			t.Errorf("%s: %v", files[i].Name, why)
		}
	}
	if sum > message.MaxDocuments || documents != 3 || items[4].Document == nil {
		t.Errorf("%d documents of %d bytes", documents, sum)
	}
}
