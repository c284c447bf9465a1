package derived

import (
	"bytes"
	"errors"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"touchmark/tpm/ledgerstore/durable"
	"touchmark/tpm/ledgerstore/segment"
)

// Checker compares the derived files with what they ought to hold, append by
// append, and, if it may, writes that again.
type Checker struct {
	Totals Totals
	held   [Files][]byte // what the newest append adds
	files  [Files]*checker
}

// Checker makes one that begins where the log amounts to t. With repair it
// writes again what it compares.
func (s *Set) Checker(t Totals, repair bool) *Checker {
	c := &Checker{Totals: t}
	for i, at := range t.Sizes() {
		c.files[i] = &checker{file: s.files[i], path: s.Path(File(i)), strict: File(i) == Hashes, repair: repair, at: at}
	}
	return c
}

// Add takes the next append. What it adds is held back until the next one, or
// Release: it is not to be written before the append is known to be durable.
func (c *Checker) Add(g *segment.Group) error {
	if err := c.Release(); err != nil {
		return err
	}
	c.held = c.Totals.Add(g)
	return nil
}

// Release passes on what was held back.
func (c *Checker) Release() error {
	for i, b := range c.held {
		if err := c.files[i].add(b); err != nil {
			return err
		}
	}
	c.held = [Files][]byte{}
	return nil
}

// Flush compares the rest.
func (c *Checker) Flush() error {
	if err := c.Release(); err != nil {
		return err
	}
	for _, f := range c.files {
		if err := f.flush(); err != nil {
			return err
		}
	}
	return nil
}

// Finish is Flush at the end of the log. A file longer than it ought to be is
// cut off, but for hashes: those of entries that are gone show that durable
// entries are gone.
func (c *Checker) Finish() error {
	if err := c.Release(); err != nil {
		return err
	}
	for _, f := range c.files {
		if err := f.finish(); err != nil {
			return err
		}
	}
	return nil
}

// checker compares one file, block by block.
type checker struct {
	file    durable.File
	path    string
	strict  bool // content that differs is corruption, unless it is zeros
	repair  bool // write it again; else what differs is an error
	at      int64
	pending []byte
}

func (c *checker) add(b []byte) error {
	c.pending = append(c.pending, b...)
	if len(c.pending) < 1<<16 {
		return nil
	}
	return c.flush()
}

func (c *checker) flush() error {
	have := make([]byte, len(c.pending))
	n, err := c.file.ReadAt(have, c.at)
	if err != nil && !errors.Is(err, io.EOF) {
		return durable.Error("read", c.path, err)
	}
	if !bytes.Equal(have[:n], c.pending) {
		if at := c.conflict(have[:n]); c.strict && at >= 0 {
			return &segment.CorruptError{Path: c.path, Offset: at, Reason: "a hash differs from its entry",
				Remedy: "if the entries are known to be good, delete this file and start again"}
		}
		if !c.repair {
			return &segment.CorruptError{Path: c.path, Offset: c.at, Reason: "it differs from the log", Remedy: segment.StartAgain}
		}
	}
	if c.repair { // also what is there: a sync that failed may have taken it for clean
		if _, err := c.file.WriteAt(c.pending, c.at); err != nil {
			return durable.Error("write", c.path, err)
		}
	}
	c.at += int64(len(c.pending))
	c.pending = c.pending[:0]
	return nil
}

// conflict finds a whole hash that is there and wrong. One whose bytes are
// right or zero is one that a power cut left half written.
func (c *checker) conflict(have []byte) int64 {
	for i := 0; i+tlog.HashSize <= len(have); i++ {
		if have[i] != c.pending[i] && have[i] != 0 {
			return c.at + int64(i-i%tlog.HashSize)
		}
	}
	return -1
}

func (c *checker) finish() error {
	if err := c.flush(); err != nil {
		return err
	}
	size, err := c.file.Size()
	switch {
	case err != nil:
		return durable.Error("read", c.path, err)
	case size <= c.at:
		return nil
	case c.strict:
		return segment.Damaged(c.path, c.at, "it has hashes of entries that are no longer in the log, though they were durable")
	}
	return durable.Error("truncate", c.path, c.file.Truncate(c.at))
}
