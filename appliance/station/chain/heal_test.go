package chain

import (
	"strings"
	"testing"
)

// What a host can make the board hold is bounded.
func TestHealingIsBounded(t *testing.T) {
	g := &Healing{bytes: maxHeal}
	if _, err := g.Take([][]byte{{0}}); err == nil || !strings.Contains(err.Error(), "copy of the mirror") {
		t.Fatal(err)
	}
}
