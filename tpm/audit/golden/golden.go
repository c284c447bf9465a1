// Package golden is what a build of the board's image publishes, for auditors: the
// hashes that a board which booted it writes into its boot entries.
//
// # Format
//
// A canonical text (docs/spec/message.md §1, docs/spec/audit.md §4.3):
//
//	touchmark/golden/v1
//	firmware 0.1.0
//	measured IMAGE COMMAND-LINE PROGRAMS
//
// The values are those of the boot entry (docs/spec/ledger.md §1.2), "-" for one
// that the build cannot know, as the command line of a boot loader that adds to it.
// Parse and Marshal are inverse. The package is pure.
package golden

import (
	"fmt"

	"touchmark/hostlink/message/canon"
	"touchmark/tpm/ledger"
)

const (
	domain = "touchmark/golden/v1"

	// MaxText is more than any such text has.
	MaxText = 1024

	maxFirmware = 64 // as in a boot entry
)

// Image is one build of the image, for one kind of board.
type Image struct {
	Firmware string
	Measured ledger.Measured
}

// Marshal writes the text.
func (g Image) Marshal() ([]byte, error) {
	w := canon.NewWriter(domain)
	w.Line("firmware", g.Firmware)
	w.Line("measured", g.Measured.Fields()...)
	if err := w.Err(); err != nil {
		return nil, fmt.Errorf("golden values: %w", err)
	}
	return w.Bytes(), nil
}

// Parse reads one.
func Parse(text []byte) (Image, error) {
	if len(text) > MaxText {
		return Image{}, fmt.Errorf("golden values: over %d bytes", MaxText)
	}
	r := canon.NewReader(text, domain)
	g := Image{Firmware: r.Line("firmware", 1)[0]}
	if r.Err() == nil && len(g.Firmware) > maxFirmware {
		r.Failf("a firmware of over %d characters", maxFirmware)
	}
	g.Measured = ledger.ReadMeasured(r, r.Line("measured", 3))
	if err := r.Close(); err != nil {
		return Image{}, fmt.Errorf("golden values: %w", err)
	}
	return g, nil
}

// Match says how a boot entry stands to builds.
type Match int

// The matches.
const (
	Same    Match = iota // one of the builds has all its values
	Unknown              // none of its values is another, but not all are known
	Foreign              // no build has its values
)

// Compare holds what a start measured against builds.
func Compare(b *ledger.Boot, builds []Image) Match {
	best := Foreign
	for _, g := range builds {
		if g.Firmware == b.Firmware {
			best = min(best, g.compare(b.Measured))
		}
	}
	return best
}

func (g Image) compare(m ledger.Measured) Match {
	match := Same
	for _, v := range [][2][32]byte{
		{m.Image, g.Measured.Image}, {m.CommandLine, g.Measured.CommandLine}, {m.Programs, g.Measured.Programs},
	} {
		switch measured, published := v[0], v[1]; {
		case published == [32]byte{}:
		case measured == [32]byte{}:
			match = Unknown
		case measured != published:
			return Foreign
		}
	}
	return match
}
