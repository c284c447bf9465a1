package ledger

import (
	"errors"
	"strings"

	"touchmark/hostlink/message/canon"
)

// Measured is what a start says of what was booted, as SHA-256; zero is not known.
// It is a report of the machine about itself: it shows mistakes, and proves nothing
// against root.
type Measured struct {
	Image       [32]byte // boot.img
	CommandLine [32]byte // of the kernel, without the line's end
	Programs    [32]byte // those of the root file system (docs/spec/ledger.md §1.2)
}

// unmeasured stands for a value that is not known.
const unmeasured = "-"

// Fields are the three values, as entries have them.
func (m Measured) Fields() []string {
	fields := make([]string, 0, 3)
	for _, h := range [][32]byte{m.Image, m.CommandLine, m.Programs} {
		if h == ([32]byte{}) {
			fields = append(fields, unmeasured)
		} else {
			fields = append(fields, canon.Hex(h[:]))
		}
	}
	return fields
}

// String is the three values with commas between them, for a command line.
func (m Measured) String() string { return strings.Join(m.Fields(), ",") }

// ParseMeasured reads what String writes.
func ParseMeasured(s string) (Measured, error) {
	w := canon.NewWriter(measuredDomain)
	fields := strings.Split(s, ",")
	w.Line("measured", fields...)
	if w.Err() != nil || len(fields) != 3 {
		return Measured{}, errNotMeasured
	}
	r := canon.NewReader(w.Bytes(), measuredDomain)
	m := ReadMeasured(r, r.Line("measured", 3))
	if r.Close() != nil {
		return Measured{}, errNotMeasured
	}
	return m, nil
}

// measuredDomain is of a text that nobody sees.
const measuredDomain = "touchmark/measured/v1"

var errNotMeasured = errors.New("it is three SHA-256 in hex or -, with commas between them: image, command line, programs")

// ReadMeasured reads what Fields writes.
func ReadMeasured(r *canon.Reader, fields []string) Measured {
	var m Measured
	for i, to := range []*[32]byte{&m.Image, &m.CommandLine, &m.Programs} {
		if fields[i] == unmeasured {
			continue
		}
		if *to = readHash(r, fields[i]); r.Err() == nil && *to == ([32]byte{}) {
			r.Failf("a hash of zeros, where - stands for none")
		}
	}
	return m
}
