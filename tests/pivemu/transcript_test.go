package pivemu

import (
	"bufio"
	"encoding/hex"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestTranscripts plays golden transcripts: `>` a command, `<` its answer, in
// hex, where `*` stands for any bytes. The firmware is in the file's name.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob("testdata/transcripts/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatal("no transcripts", err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			name := strings.TrimSuffix(file, ".txt")
			c, err := New(Config{Profile: name[strings.LastIndex(name, "-")+1:], Serial: 12345678})
			if err != nil {
				t.Fatal(err)
			}
			play(t, c, file)
		})
	}
}

func play(t *testing.T, c *Card, file string) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var answer string
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		text := strings.ReplaceAll(lines.Text(), " ", "")
		switch {
		case strings.HasPrefix(text, ">"):
			apdu, err := hex.DecodeString(text[1:])
			if err != nil {
				t.Fatalf("line %d: %v", n, err)
			}
			answer = hex.EncodeToString(c.APDU(apdu))
		case strings.HasPrefix(text, "<"):
			pattern := "^" + strings.ReplaceAll(text[1:], "*", "([0-9a-f]{2})*") + "$"
			if !regexp.MustCompile(pattern).MatchString(answer) {
				t.Errorf("line %d: %s, want %s", n, answer, text[1:])
			}
		case text != "" && !strings.HasPrefix(text, "#"):
			t.Fatalf("line %d: %s", n, text)
		}
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
}
