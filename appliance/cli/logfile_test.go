package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "appliance.log")
	line := strings.Repeat("x", 99) + "\n"
	for range 3 { // runs
		l, err := openLog(path, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for range 25 {
			if _, err := l.Write([]byte(line)); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.file.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []string{path, path + ".1"} {
		st, err := os.Stat(p)
		if err != nil || st.Size() > 1000 || st.Size() == 0 {
			t.Errorf("%s: %v, %d bytes", p, err, st.Size())
		}
	}
}
