package ledger

import (
	"strconv"
	"strings"
	"time"

	"touchmark/hostlink/message/canon"
)

// Clock says where the appliance's time came from at start: one of these, or
// what ClockCorrected answers.
const (
	ClockOperator  = "operator"   // the operator confirmed it
	ClockHostUnset = "host-unset" // nobody did: only ordered, not true
	ClockSystem    = "system"     // the machine's own clock, desktop use

	clockCorrected = "corrected:"
)

// maxCorrection bounds a correction, in seconds: the years that times may have
// are fewer.
const maxCorrection = 9_000_000_000

// ClockCorrected is a machine's clock that administrators ordered to be corrected
// by whole seconds, not 0.
func ClockCorrected(by time.Duration) string {
	return clockCorrected + strconv.FormatInt(int64(by/time.Second), 10)
}

// Correction is what a clock was corrected by; false if it was not.
func Correction(clock string) (time.Duration, bool) {
	text, ok := strings.CutPrefix(clock, clockCorrected)
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n == 0 || n < -maxCorrection || n > maxCorrection || strconv.FormatInt(n, 10) != text {
		return 0, false
	}
	return time.Duration(n) * time.Second, true
}

func readClock(r *canon.Reader, s string) string {
	if _, ok := Correction(s); ok {
		return s
	}
	return readChoice(r, s, ClockOperator, ClockHostUnset, ClockSystem)
}
