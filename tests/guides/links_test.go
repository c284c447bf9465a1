package guides

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var link = regexp.MustCompile(`\]\(([^)#\s]+)[^)]*\)`)

// TestLinks: what the documentation refers to is there, and one decision has one number.
func TestLinks(t *testing.T) {
	root, read := filepath.Join("..", ".."), 0
	list := []string{"README.md", "CHANGELOG.md", "CONTRIBUTING.md"}
	must(t, filepath.WalkDir(filepath.Join(root, "docs"), func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".md") {
			list = append(list, strings.TrimPrefix(path, root+"/"))
		}
		return err
	}))
	for _, page := range list {
		text, err := os.ReadFile(filepath.Join(root, page))
		must(t, err)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			read++
			if _, err := os.Stat(filepath.Join(root, filepath.Dir(page), m[1])); err != nil {
				t.Errorf("%s refers to %s, which is not there", page, m[1])
			}
		}
	}
	numbers := map[string]string{}
	for _, page := range list {
		dir, name := filepath.Split(page)
		if number, _, _ := strings.Cut(name, "-"); strings.HasSuffix(dir, "decisions/") {
			if numbers[number] != "" {
				t.Errorf("%s and %s have one number", numbers[number], page)
			}
			numbers[number] = page
		}
	}
	if read < 100 {
		t.Errorf("%d links", read)
	}
}
