package pcsc

import (
	"errors"
	"fmt"
	"testing"
)

func TestErrno(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Errno
	}{
		{nil, OK},
		{ErrTimeout, ErrTimeout},
		{fmt.Errorf("a: %w", fmt.Errorf("b: %w", ErrRemovedCard)), ErrRemovedCard},
		{errors.New("x"), ErrCommError},
		{OK, ErrCommError}, // an error that says success is none
	} {
		if got := errnoOf(c.err); got != c.want {
			t.Errorf("errnoOf(%v) = %v, want %v", c.err, got, c.want)
		}
	}
	if got, ok := Code(fmt.Errorf("a: %w", ErrNoService)); got != ErrNoService || !ok {
		t.Errorf("Code = %v, %v", got, ok)
	}
	if _, ok := Code(errors.New("x")); ok {
		t.Error("Code found a code in a plain error")
	}
	if int64(ErrRemovedCard) != 0x80100069 {
		t.Error("code is not positive")
	}
	for e := range errnoText {
		if e.Error() == Errno(0xffff).Error() {
			t.Errorf("%08x has no text", uint32(e))
		}
	}
}
