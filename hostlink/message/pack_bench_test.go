package message

import (
	"strings"
	"testing"
)

func BenchmarkPack(b *testing.B) {
	p := NewPacker()
	msg := []byte(strings.Repeat("path 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\n", 14))
	for b.Loop() {
		p.Pack(msg)
	}
}
