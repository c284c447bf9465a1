package past

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledgerstore"
)

// Log is what a board needs of its log on disk; package ledgerstore implements
// it.
type Log interface {
	Size() uint64
	Entry(i uint64) ([]byte, error)
	Entries(from, to uint64) iter.Seq2[[]byte, error]
	Backward(from uint64) iter.Seq2[[]byte, error]
	MarksBackward() iter.Seq2[ledgerstore.Mark, error]
	Jobs(from uint64) iter.Seq2[ledgerstore.Job, error]
	PlansBackward() iter.Seq2[anchor.Plan, error]
	PlansBehind(n uint64) (uint64, error)
	Root(n uint64) ([32]byte, error)
	RootWith(entries [][]byte) ([32]byte, error)
	Hashes(level int, n uint64, w int) ([][32]byte, error)
	Append(entries [][]byte, plan *anchor.Plan) error
	Scrub(ctx context.Context, progress func(done, total int64)) error
}

// ErrNoLog says that there is neither a log nor a copy of its genesis entry.
var ErrNoLog = errors.New("there is no log here")

// DamagedError says that an entry of the log cannot be right.
type DamagedError struct {
	Index uint64
	Err   error
}

func (e *DamagedError) Error() string { return fmt.Sprintf("log entry %d: %v", e.Index, e.Err) }
func (e *DamagedError) Unwrap() error { return e.Err }

// Damaged says that entry i cannot be right.
func Damaged(i uint64, err error) error { return &DamagedError{i, err} }

// Absent is a log that could not be opened: it is empty, and takes and gives
// nothing.
type Absent struct{ Err error }

// Size is 0.
func (a Absent) Size() uint64 { return 0 }

// PlansBehind is 0.
func (a Absent) PlansBehind(uint64) (uint64, error) { return 0, nil }

// Entry fails, as all of the methods below do.
func (a Absent) Entry(uint64) ([]byte, error) { return nil, a.Err }

// Entries yields the error.
func (a Absent) Entries(_, _ uint64) iter.Seq2[[]byte, error] { return failing[[]byte](a.Err) }

// Backward yields the error.
func (a Absent) Backward(uint64) iter.Seq2[[]byte, error] { return failing[[]byte](a.Err) }

// MarksBackward yields the error.
func (a Absent) MarksBackward() iter.Seq2[ledgerstore.Mark, error] {
	return failing[ledgerstore.Mark](a.Err)
}

// Jobs yields the error.
func (a Absent) Jobs(uint64) iter.Seq2[ledgerstore.Job, error] {
	return failing[ledgerstore.Job](a.Err)
}

// PlansBackward yields the error.
func (a Absent) PlansBackward() iter.Seq2[anchor.Plan, error] { return failing[anchor.Plan](a.Err) }

// Root fails.
func (a Absent) Root(uint64) ([32]byte, error) { return [32]byte{}, a.Err }

// RootWith fails.
func (a Absent) RootWith([][]byte) ([32]byte, error) { return [32]byte{}, a.Err }

// Hashes fails.
func (a Absent) Hashes(int, uint64, int) ([][32]byte, error) { return nil, a.Err }

// Append fails.
func (a Absent) Append([][]byte, *anchor.Plan) error { return a.Err }

// Scrub fails.
func (a Absent) Scrub(context.Context, func(done, total int64)) error { return a.Err }

func failing[T any](err error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, err)
	}
}
