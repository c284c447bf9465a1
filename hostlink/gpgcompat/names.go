package gpgcompat

import (
	"bytes"
	"path"
	"strings"

	"touchmark/hostlink/message"
)

// HeadSize is how much of what is signed Name looks at.
const HeadSize = 4 << 10

// nameless is what the operator is shown where there is no name at all.
const nameless = "stdin"

// Name is what to call the thing that is signed: the policy picks the class by
// it, and the display shows it as the host's claim. Callers that pipe data in give
// no file name; then it follows from the name of the output, else from how the data
// begins: a Release file, an object of git, metadata of in-toto.
func (c *Call) Name(head []byte) string {
	switch {
	case c.File != "-" && c.FD(c.File) < 0:
		return Clean(path.Base(c.File))
	case c.Output != "-" && c.FD(c.Output) < 0:
		return Clean(unsigned(path.Base(c.Output)))
	}
	return Clean(contentName(head))
}

// signatureSuffixes are those of files that hold the signature of what is called
// the same without them.
var signatureSuffixes = []string{".sig", ".asc", ".gpg", ".sign"}

func unsigned(name string) string {
	for _, s := range signatureSuffixes {
		if rest, ok := strings.CutSuffix(name, s); ok && rest != "" {
			return rest
		}
	}
	return name
}

// Clean makes a name that requests may have of a file's: repo-add signs
// .tmp.NAME and reprepro NAME.new, both to be renamed later, and characters that no
// name has become "_".
func Clean(name string) string {
	if rest := strings.TrimSuffix(strings.TrimPrefix(name, ".tmp."), ".new"); rest != "" {
		name = rest
	}
	clean := []byte(name[:min(len(name), message.MaxName)])
	for i, b := range clean {
		if b == '/' || message.ValidName("a"+string(rune(b))) != nil || b >= 0x80 || i > 0 && b == '.' && clean[i-1] == '.' {
			clean[i] = '_'
		}
	}
	if s := string(clean); message.ValidName(s) == nil {
		return s
	}
	if s := "_" + string(clean[:min(len(clean), message.MaxName-1)]); message.ValidName(s) == nil {
		return s
	}
	return nameless
}

// contentName tells by its first lines what data without a name is.
func contentName(head []byte) string {
	lines := strings.Split(string(head[:min(len(head), HeadSize)]), "\n")
	field := func(name string) string {
		for _, l := range lines {
			if v, ok := strings.CutPrefix(l, name); ok {
				return strings.TrimSpace(v)
			}
		}
		return ""
	}
	switch {
	case strings.HasPrefix(lines[0], "object ") && field("tag ") != "":
		return path.Base(field("tag ")) + ".git-tag"
	case strings.HasPrefix(lines[0], "tree ") && field("committer ") != "":
		return "git-commit"
	case strings.HasPrefix(lines[0], `{"_type":"layout"`):
		return "layout.in-toto"
	case strings.HasPrefix(lines[0], `{"_type":"link"`):
		return "link.in-toto"
	case (field("Suite:") != "" || field("Codename:") != "") && bytes.Contains(head, []byte("\nSHA256:")):
		return "Release"
	}
	return nameless
}
