package serialport_test

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"touchmark/hostlink/serialport"
)

// dying is a device that opens and then fails at the first read, after a while.
type dying time.Duration

func (d dying) Read([]byte) (int, error) {
	<-time.After(time.Duration(d))
	return 0, io.ErrUnexpectedEOF
}
func (dying) Write(p []byte) (int, error)        { return len(p), nil }
func (dying) SetWriteDeadline(_ time.Time) error { return nil }
func (dying) Close() error                       { return nil }

// TestFailingDeviceIsNotHurried: a device that fails as soon as it is open is tried as rarely as one that is absent; one
// that worked for a while is opened again at once.
func TestFailingDeviceIsNotHurried(t *testing.T) {
	for name, c := range map[string]struct {
		life        time.Duration
		least, most int // openings within the minute
	}{
		"fails at once": {0, 50, 70},
		"works for 5 s": {5 * time.Second, 11, 12},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			e := serialport.Start(ctx, serialport.EndpointConfig{Initiator: true, Path: "x",
				Open: func(string, int) (serialport.Port, error) { return dying(c.life), nil }})
			opened := 0
			for ev := range e.Events() {
				if ev.Kind == serialport.Opened {
					opened++
				}
			}
			e.Wait()
			if opened < c.least || opened > c.most {
				t.Errorf("%s: opened %d times", name, opened)
			}
		})
	}
}
