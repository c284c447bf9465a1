package boot

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

var defaults = Options{Data: "/dev/mmcblk0p4", Slots: "/dev/mmcblk0p", Link: Gadget, Baud: 115200, Operator: "console", Clock: "ask"}

func TestOptions(t *testing.T) {
	with := func(change func(*Options)) Options {
		o := defaults
		change(&o)
		return o
	}
	for line, want := range map[string]Options{
		"": defaults,
		"console=ttyAMA0,115200 rdinit=/init panic=10 nottouchmark.data=x\n": defaults,
		"touchmark.data=/dev/vda4 touchmark.slots=/dev/vda touchmark.slot=2": with(func(o *Options) { o.Data, o.Slots, o.Slot = "/dev/vda4", "/dev/vda", 2 }),
		"touchmark.link=auto:0403:6001,1a86:7523 touchmark.baud=921600":      with(func(o *Options) { o.Link, o.Baud = "auto:0403:6001,1a86:7523", 921600 }),
		"touchmark.link=/dev/ttyUSB0 touchmark.console=/dev/tty1":            with(func(o *Options) { o.Link, o.Console = "/dev/ttyUSB0", "/dev/tty1" }),
		"touchmark.operator=lines touchmark.clock=system":                    with(func(o *Options) { o.Operator, o.Clock = "lines", "system" }),
		"touchmark.operator=none touchmark.clock=system touchmark.buttons=/dev/gpiochip0:arm=17,deny=27 touchmark.board=rpi4": with(func(o *Options) {
			o.Operator, o.Clock, o.Buttons, o.Board = "none", "system", "/dev/gpiochip0:arm=17,deny=27", "rpi4"
		}),
	} {
		if got, err := ParseOptions(line); err != nil || got != want {
			t.Errorf("%q: %+v, %v; want %+v", line, got, err, want)
		}
	}
}

// A command line that is not understood is said where it says itself, and gives up the trial on
// the card that it names.
func TestOptionsBesideWrongOne(t *testing.T) {
	got, err := ParseOptions("touchmark.slots=/dev/vda touchmark.shell=/bin/sh touchmark.console=/dev/ttyS1 touchmark.slots=/dev/vdb touchmark.operator=none")
	if err == nil || got.Card() != "/dev/vda" || got.Console != "/dev/ttyS1" || !strings.Contains(err.Error(), "shell") {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestOptionsRefused(t *testing.T) {
	for line, want := range map[string]string{
		"touchmark.shell=/bin/sh":                      "not known",
		"touchmark.data=/dev/a touchmark.data=/dev/b":  "twice",
		"touchmark.data=":                              "no device",
		"touchmark.data":                               "no device",
		"touchmark.data=/dev/../data":                  "no device",
		"touchmark.data=/etc/passwd":                   "no device",
		"touchmark.link=auto:\x1b[2J":                  "characters",
		"touchmark.slot=0":                             "number",
		"touchmark.slot=02":                            "number",
		"touchmark.slot=16":                            "number",
		"touchmark.baud=1e6":                           "number",
		"touchmark.operator=sh":                        "none of",
		"touchmark.operator=none":                      "needs",
		"touchmark.operator=none touchmark.buttons=/a": "needs",
		"touchmark.clock=host":                         "none of",
		strings.Repeat("x", maxCommandLine+1):          "bytes",
	} {
		if got, err := ParseOptions(line); err == nil || !strings.Contains(err.Error(), want) || got.Operator == "" {
			t.Errorf("%.60q: %+v, %v; want an error with %q", line, got, err, want)
		}
	}
}

func TestDevices(t *testing.T) {
	for _, c := range []struct{ slots, card string }{{"/dev/mmcblk0p", "/dev/mmcblk0"}, {"/dev/vda", "/dev/vda"}, {"/dev/sdp", "/dev/sdp"}} {
		if got := (Options{Slots: c.slots}).Card(); got != c.card {
			t.Errorf("%s: %s", c.slots, got)
		}
	}
	if got := (Options{Link: Gadget}).LinkDevice(); got != "/dev/ttyGS0" {
		t.Error(got)
	}
	for cell, want := range map[string]int{"\x00\x00\x00\x02": 2, "\x00\x00\x00\x00": 0, "\x00\x00\x00": 0, "\x02\x00\x00\x00": 0, "": 0} {
		if got, err := Slot([]byte(cell)); got != want || (err == nil) != (want > 0) {
			t.Errorf("%x: %d, %v", cell, got, err)
		}
	}
}

const ceremonyFile = `touchmark/ceremony/v1
enroll
policy policy.note
uid Example Packages <packages@example.org>
trust-out trust
backup-recipient age1aaa
backup-recipient age1bbb
throwaway
`

func TestCeremony(t *testing.T) {
	board := Board{Dir: "/data/board", TPM: "/dev/tpmrm0", Operator: "lines"}
	want := []string{"enroll", "--dir=/data/board", "--tpm=/dev/tpmrm0", "--operator=lines", "--policy=/media/stick/policy.note",
		"--uid=Example Packages <packages@example.org>", "--trust-out=/media/stick/trust", "--backup-recipient=age1aaa", "--backup-recipient=age1bbb", "--throwaway"}
	for _, text := range []string{ceremonyFile, strings.ReplaceAll(ceremonyFile, "\n", "\r\n"), strings.TrimSuffix(ceremonyFile, "\n")} {
		c, err := ParseCeremony([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Args("/media/stick", board); !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	}
	c, err := ParseCeremony([]byte("touchmark/ceremony/v1\ntoken-key new\nname media\n"))
	if err != nil || !slices.Equal(c.Args("/s", board), []string{"token-key", "new", "--operator=lines", "--name=media"}) {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestCeremonyRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":            "",
		"no command":         "touchmark/ceremony/v1\n",
		"another kind":       "touchmark/policy/v1\nenroll\n",
		"a command":          "touchmark/ceremony/v1\nrun\n",
		"a shell":            "touchmark/ceremony/v1\n/bin/sh\n",
		"the board's flag":   ceremonyFile + "dir /tmp\n",
		"the TPM":            ceremonyFile + "tpm swtpm:/x\n",
		"a path":             ceremonyFile + "transcript ../data/board/log.key\n",
		"a folder":           ceremonyFile + "transcript a/b\n",
		"a hidden file":      ceremonyFile + "transcript .x\n",
		"a flag for a value": ceremonyFile + "transcript --throwaway\n",
		"no value":           ceremonyFile + "transcript\n",
		"a value too much":   ceremonyFile + "set-pin yes\n",
		"an empty line":      ceremonyFile + "\n",
		"an escape":          ceremonyFile + "uid \x1b[2Jx\n",
		"no UTF-8":           ceremonyFile + "uid \xff\n",
		"a long value":       ceremonyFile + "uid " + strings.Repeat("x", maxValue+1) + "\n",
		"many lines":         ceremonyFile + strings.Repeat("backup-key x\n", maxLines),
		"a large file":       ceremonyFile + strings.Repeat("x", maxCeremony),
	} {
		if c, err := ParseCeremony([]byte(text)); err == nil {
			t.Errorf("%s: taken as %+v", name, c)
		}
	}
}

// Whatever a stick says, the command gets no flag of the board's own, no file but the
// stick's, and each line as one word.
func FuzzCeremony(f *testing.F) {
	f.Add([]byte(ceremonyFile))
	f.Add([]byte("touchmark/ceremony/v1\nanswer\nchallenge c\nout a\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := ParseCeremony(text)
		if err != nil {
			return
		}
		args := c.Args("/media/stick", Board{Dir: "/data/board", TPM: "/dev/tpmrm0", Operator: "console"})
		seen := map[string]int{}
		for _, a := range args[len(strings.Fields(c.Command)):] {
			flag, value, _ := strings.Cut(a, "=")
			seen[flag]++
			if !strings.HasPrefix(flag, "--") || strings.Contains(value, "/media/stick/..") || strings.ContainsAny(a, "\n\x00") {
				t.Errorf("%q", args)
			}
		}
		for _, flag := range []string{"--dir", "--tpm", "--operator"} {
			if seen[flag] > 1 {
				t.Errorf("%s twice: %q", flag, args)
			}
		}
	})
}

func TestSuperblock(t *testing.T) {
	good := make([]byte, SuperblockSize)
	good[magicAt], good[magicAt+1], good[stateAt] = 0x53, 0xEF, 1
	with := func(at int, b byte) []byte {
		c := slices.Clone(good)
		c[at] = b
		return c
	}
	for name, c := range map[string]struct {
		b    []byte
		want Disk
	}{
		"good":          {good, DiskClean},
		"not unmounted": {with(stateAt, 0), DiskClean},
		"errors":        {with(stateAt, 3), DiskErrors},
		"counted":       {with(errorCountAt, 1), DiskErrors},
		"foreign":       {with(magicAt, 0), DiskForeign},
		"short":         {good[:SuperblockSize-1], DiskForeign},
		"zeros":         {make([]byte, SuperblockSize), DiskForeign},
	} {
		if got := ReadSuperblock(c.b); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The example of docs/spec/ledger.md, as a shell makes it:
// printf 'A\n' >bin/touchmark-appliance … && sha256sum bin/touchmark-appliance bin/touchmark-link init | sha256sum
func TestMeasures(t *testing.T) {
	a, b := Program{"init", [32]byte{1}}, Program{"bin/touchmark-link", [32]byte{2}}
	if Programs([]Program{a, b}) != Programs([]Program{b, a}) {
		t.Error("the order of looking matters")
	}
	if Programs([]Program{a}) == Programs([]Program{a, b}) || Programs([]Program{{"init", [32]byte{2}}}) == Programs([]Program{a}) {
		t.Error("different programs measure the same")
	}
	if CommandLine("a b\n") != CommandLine("a b") || CommandLine("a b") == CommandLine("a  b") {
		t.Error("the command line")
	}
}

func TestRespawn(t *testing.T) {
	var r Respawn
	if next, _ := r.Ended(0, time.Second); next != Finish {
		t.Error("an end in good order is not the board's")
	}
	var pauses []time.Duration
	for range patience - 1 {
		next, pause := r.Ended(1, time.Second)
		if next != Again {
			t.Fatal(next)
		}
		pauses = append(pauses, pause)
	}
	if want := []time.Duration{1e9, 2e9, 4e9, 8e9, 16e9}; !slices.Equal(pauses, want) {
		t.Error(pauses)
	}
	if next, _ := r.Ended(137, time.Second); next != Reset {
		t.Error("a core that does not stay up leads to no start of the board")
	}
	r = Respawn{quick: patience - 1}
	if next, pause := r.Ended(1, steady); next != Again || pause != restFirst {
		t.Errorf("one that ran for long: %v, %v", next, pause)
	}
}

var (
	start  = time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)
	enroll = &Ceremony{Command: "enroll"}
)

// step is something that happens to a conductor, and the acts that must follow.
type step struct {
	do   func(c *Conductor) []Act
	want []Act
}

func plugged(s Stick, want ...Act) step {
	return step{func(c *Conductor) []Act { return c.Plugged(s) }, want}
}

func ended(code int, enrolled bool, want ...Act) step {
	return step{func(c *Conductor) []Act { return c.Ended(start, code, time.Second, enrolled) }, want}
}

func after(d time.Duration, want ...Act) step {
	return step{func(c *Conductor) []Act { return c.Tick(start.Add(d)) }, want}
}

func begin(enrolled bool, want ...Act) step {
	return step{func(c *Conductor) []Act { return c.Begin(enrolled) }, want}
}

func TestConductor(t *testing.T) {
	stick, empty := Stick{Present: true, Ceremony: enroll}, Stick{Present: true}
	wrong := Stick{Present: true, Err: errNothing}
	for name, steps := range map[string][]step{
		"enrolled: the TPM is locked first, once": {
			begin(true, LockTPM{}, StartCore{}), after(time.Hour), plugged(Stick{}), plugged(empty),
			ended(1, true), after(time.Second - 1), after(time.Second, StartCore{}),
		},
		"enrolment: the TPM is locked before the core starts": {
			begin(false, Say{saysNotEnrolled}), plugged(empty), plugged(Stick{}),
			plugged(stick, Hold{enroll}), plugged(stick), ended(0, true, Say{saysTakeOut}), plugged(stick),
			plugged(Stick{}, LockTPM{}, StartCore{}),
		},
		"an enrolment that failed goes on with the same stick": {
			begin(false, Say{saysNotEnrolled}), plugged(stick, Hold{enroll}), ended(5, false, Say{saysTakeOut}),
			plugged(Stick{}, Say{saysNotEnrolled}), plugged(stick, Hold{enroll}),
		},
		"a ceremony of a running board": {
			begin(true, LockTPM{}, StartCore{}), plugged(stick, StopCore{}), plugged(stick),
			ended(0, true, Hold{enroll}), ended(0, true, Say{saysTakeOut}), plugged(stick), plugged(Stick{}, StartCore{}),
			plugged(Stick{}), plugged(stick, StopCore{}),
		},
		"a stick pulled before the core ended": {
			begin(true, LockTPM{}, StartCore{}), plugged(stick, StopCore{}), plugged(Stick{}), ended(0, true, Hold{enroll}),
			ended(1, true, Say{saysTakeOut}), plugged(Stick{}, StartCore{}),
		},
		"a file that makes no sense is said, once": {
			begin(false, Say{saysNotEnrolled}), plugged(wrong, Say{errNothing.Error()}), plugged(wrong), plugged(Stick{}), plugged(wrong, Say{errNothing.Error()}),
		},
		"… and does not disturb a running core": {begin(true, LockTPM{}, StartCore{}), plugged(wrong)},
		"an operator who quits switches off":    {begin(true, LockTPM{}, StartCore{}), ended(0, true, End{Finish})},
		"a ceremony in a pause": {
			begin(true, LockTPM{}, StartCore{}), ended(1, true), plugged(stick, Hold{enroll}), after(time.Hour), ended(0, true, Say{saysTakeOut}), plugged(Stick{}, StartCore{}),
		},
	} {
		var c Conductor
		for i, s := range steps {
			if got := s.do(&c); !reflect.DeepEqual(got, s.want) {
				t.Errorf("%s, step %d: %+v, want %+v", name, i, got, s.want)
			}
		}
	}
}

type errText string

func (e errText) Error() string { return string(e) }

const errNothing = errText("nothing that makes sense")
