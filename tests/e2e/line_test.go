package e2e

import (
	"bytes"
	"testing"

	"touchmark/appliance/operator"
	"touchmark/hostlink/hostd/api"
	"touchmark/tests/cable"
	"touchmark/tests/world"
)

// TestGarbageOnTheLine pours what a noisy or hostile line could bring into both directions, idle and in mid-job.
func TestGarbageOnTheLine(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	r.sign(nil, r.file("before", 100))
	recorded := r.Cable.Recorded(cable.Up)
	for name, garbage := range map[string][]byte{
		"zeros":           make([]byte, 10000),
		"ones":            bytes.Repeat([]byte{0xff}, 10000),
		"a login prompt":  []byte("\r\nDebian GNU/Linux 12 repo1 ttyUSB0\r\n\r\nrepo1 login: "),
		"an old session":  recorded,
		"half a frame":    recorded[:len(recorded)/2],
		"one long frame":  append(bytes.Repeat([]byte{7}, 100000), 0),
		"delimiters, all": bytes.Repeat([]byte{0, 1, 0}, 1000),
	} {
		for _, d := range []cable.Direction{cable.Up, cable.Down} {
			r.must(r.Cable.Inject(d, garbage))
			f := r.file("f", 100)
			s := r.ask(nil, f)
			job := s.shown()
			r.must(r.Cable.Inject(d, garbage))
			r.must(r.Operator("arm " + job))
			r.must(r.Token.Await(r.ctx))
			r.must(r.Cable.Inject(d, garbage))
			s.touch().end(api.OK)
			r.verified(f)
			if t.Failed() {
				t.Fatalf("with %s, %s", name, d)
			}
		}
	}
	r.clean()
}

// TestNoisyLine signs over a line that flips and loses bytes all the time.
func TestNoisyLine(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	r.Cable.SetFault(cable.Up, cable.Noise(1, 1e-5, 1e-4))
	r.Cable.SetFault(cable.Down, cable.Noise(2, 1e-5, 1e-4))
	for range 5 {
		r.works()
	}
	r.clean()
}

// TestCableCutMidJob cuts the cable while the token waits: the board goes on, the host says that a signature may exist,
// and once the cable is mended the log tells what became of it.
func TestCableCutMidJob(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	f := r.file("f", 100)
	s := r.ask(nil, f).arm()
	r.must(r.Token.Await(r.ctx))
	r.Cable.Cut()
	r.must(r.Token.Touch(r.ctx))
	s.view(func(v operator.View) bool { return v.Job == nil || v.Job.State == "released" })
	r.Cable.Restore()
	// The answer comes late but it comes: the host fetches what it missed.
	s.end(api.OK)
	r.verified(f)
	r.works()
	r.clean()
}

// TestSerialDeviceAbsent starts the daemon without its device; a request says so, and works once the device is there.
func TestSerialDeviceAbsent(t *testing.T) {
	t.Parallel()
	r := newRig(t, world.Config{})
	r.must(r.Enrol(r.ctx))
	r.must(r.StartAppliance(r.ctx))
	r.Cable.Unplug(cable.Up)
	r.must(r.LaunchHostd(r.ctx, "repo1"))
	f := r.file("f", 100)
	r.oneLine(r.ask(nil, f).end(api.LinkDown), r.Cable.HostPath(), "absent")
	r.unsigned(f)
	mark := r.Hostd().Log.Mark()
	r.must(r.Cable.Plug(cable.Up))
	r.must(r.Hostd().AwaitLog(r.ctx, mark, "log verified"))
	r.works()
}

// TestAdapterPulledAndBack pulls the USB adapter on either side between jobs.
func TestAdapterPulledAndBack(t *testing.T) {
	t.Parallel()
	r := up(t, world.Config{})
	for _, d := range []cable.Direction{cable.Up, cable.Down} {
		mark := r.Hostd().Log.Mark()
		r.Cable.Unplug(d)
		r.must(r.Cable.Plug(d))
		r.must(r.Hostd().AwaitLog(r.ctx, mark, "log verified"))
		r.works()
	}
	r.clean()
}

// TestBoardNotThere runs the daemon against a cable with nobody at the other end.
func TestBoardNotThere(t *testing.T) {
	t.Parallel()
	r := newRig(t, world.Config{})
	r.must(r.Enrol(r.ctx))
	r.must(r.LaunchHostd(r.ctx, "repo1"))
	f := r.file("f", 100)
	r.oneLine(r.ask(nil, f).end(api.LinkDown), "appliance")
	r.unsigned(f)
	r.must(r.StartAppliance(r.ctx))
	r.must(r.Hostd().AwaitLog(r.ctx, 0, "log verified"))
	r.works()
}
