//go:build emulated

package crash

import (
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// gallery holds every signature that was released, for GnuPG to look at.
type gallery struct {
	dir  string
	base *base

	mu   sync.Mutex // guards seen
	seen map[[32]byte]released
}

func (g *gallery) add(list []released) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.seen == nil {
		g.seen = map[[32]byte]released{}
	}
	for _, s := range list {
		g.seen[sha256.Sum256(s.sig)] = s
	}
}

func (g *gallery) size() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.seen)
}

// judge has gpgv verify each of them.
func (g *gallery) judge(t *testing.T) {
	t.Helper()
	ring := filepath.Join(g.dir, "ring.gpg")
	ok(t, os.WriteFile(ring, g.base.trust.Certs[0], 0o600))
	for hash, s := range g.seen {
		file := filepath.Join(g.dir, fmt.Sprintf("%x", hash[:8]))
		ok(t, os.WriteFile(file, []byte("content of "+s.name), 0o600))
		ok(t, os.WriteFile(file+".sig", s.sig, 0o600))
		if out, err := exec.Command("gpgv", "--keyring", ring, file+".sig", file).CombinedOutput(); err != nil {
			t.Errorf("gpgv about %s: %v\n%s", s.name, err, out)
		}
	}
}

// copyCard is another token with the same keys.
func (b *base) copyCard(t *testing.T, n int) string {
	t.Helper()
	state, err := os.ReadFile(b.card)
	ok(t, err)
	path := filepath.Join(t.TempDir(), fmt.Sprint("card", n))
	ok(t, os.WriteFile(path, state, 0o600))
	return path
}
