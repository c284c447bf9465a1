// Package imagepages holds the pages of docs/image to what they say: its tests run the shell lines that stand there, on
// files in place of cards and on an emulated token behind a real pcscd. The checklist that is to be printed is set in type.
//
// Lines that are run stand in a fence whose second word names them: "```sh sign". A fence "```bash piv-sign" is a program
// of that name. What has no second word is not run.
package imagepages

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

var fence = regexp.MustCompile("(?s)\n ?? ?? ?```(?:sh|bash) ([a-z0-9-]+)\n(.*?)\n ?? ?? ?```\n")

// blocks are the named fences of a page of docs/image. A name that stands twice is an error.
func blocks(page string) (map[string]string, error) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "image", page))
	if err != nil {
		return nil, err
	}
	named := map[string]string{}
	for _, m := range fence.FindAllStringSubmatch(string(text), -1) {
		if named[m[1]] != "" {
			return nil, fmt.Errorf("%s: two fences are named %s", page, m[1])
		}
		named[m[1]] = m[2] + "\n"
	}
	return named, nil
}
