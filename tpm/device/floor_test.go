package device_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"touchmark/tests/swtpm"
	"touchmark/tpm/device"
)

func floorIs(t *testing.T, tpm *device.TPM, want uint64) {
	t.Helper()
	if got, err := tpm.Floor(); err != nil || got != want {
		t.Fatalf("the floor is %d, %v; want %d", got, err, want)
	}
}

func TestFloor(t *testing.T) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	if _, err := tpm.Floor(); !errors.Is(err, device.ErrNoFloor) {
		t.Fatalf("of a new TPM: %v", err)
	}
	if err := tpm.RaiseFloor(1); !errors.Is(err, device.ErrNoFloor) {
		t.Fatalf("raised what is not there: %v", err)
	}
	for range 2 {
		must(t, tpm.MakeFloor())
		floorIs(t, tpm, 0)
	}
	must(t, tpm.RaiseFloor(3))
	must(t, tpm.RaiseFloor(2))
	floorIs(t, tpm, 3)
	if err := tpm.RaiseFloor(3 + device.MaxRaise + 1); err == nil {
		t.Error("raised further than a start may")
	}
	must(t, tpm.MakeFloor())
	must(t, s.PowerCycle())
	floorIs(t, tpm, 3)
	must(t, tpm.RaiseFloor(4))
	floorIs(t, tpm, 4)
}

// A TPM that has had counters before begins a new one above them.
func TestFloorBeginsAtZero(t *testing.T) {
	s := swtpm.Start(t)
	for range 5 {
		tool(t, s, "tpm2_nvdefine", "0x01800200", "-C", "o", "-s", "8", "-a", "ownerread|ownerwrite|authread|authwrite|nt=counter")
		tool(t, s, "tpm2_nvincrement", "0x01800200")
		tool(t, s, "tpm2_nvundefine", "0x01800200", "-C", "o")
	}
	tpm := open(t, s, device.Config{})
	must(t, tpm.MakeFloor())
	floorIs(t, tpm, 0)
}

// tool runs one of tpm2-tools, which must succeed.
func tool(t *testing.T, s *swtpm.Server, name string, args ...string) {
	t.Helper()
	if out, err := s.Tool(name, args...); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

// What is done to the two indexes by whoever has every authorization: nothing
// lowers the floor.
func TestFloorCannotBeLowered(t *testing.T) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	must(t, tpm.MakeFloor())
	must(t, tpm.RaiseFloor(2))
	for _, index := range []string{"0x01800101", "0x01800102"} {
		for _, c := range [][]string{
			{"tpm2_nvundefine", index, "-C", "p"}, {"tpm2_nvundefine", index, "-C", "o"},
			{"tpm2_nvwrite", index, "-i", "/dev/zero"},
			{"tpm2_nvdefine", index, "-C", "p", "-s", "8", "-a", "authread|authwrite|ppwrite|platformcreate"},
			{"tpm2_nvsetbits", index, "-i", "1"},
			{"tpm2_nvreadlock", index},
		} {
			if out, err := s.Tool(c[0], c[1:]...); err == nil {
				t.Errorf("%v: %s", c, out)
			}
		}
	}
	if out, err := s.Tool("tpm2_nvincrement", "0x01800102"); err == nil {
		t.Errorf("what the counter began at was changed: %s", out)
	}
	tool(t, s, "tpm2_clear", "-c", "p")
	tool(t, s, "tpm2_changeeps")
	tool(t, s, "tpm2_changepps")
	must(t, s.PowerCycle())
	floorIs(t, tpm, 2)
	must(t, tpm.MakeFloor())
	floorIs(t, tpm, 2)
}

func TestFloorRefusesForeignIndexes(t *testing.T) {
	for _, index := range []string{"0x01800101", "0x01800102"} {
		s := swtpm.Start(t)
		tool(t, s, "tpm2_nvdefine", index, "-C", "o", "-s", "8", "-a", "ownerread|ownerwrite|authread|authwrite")
		tpm := open(t, s, device.Config{})
		var foreign *device.ForeignFloorError
		if err := tpm.MakeFloor(); !errors.As(err, &foreign) || fmt.Sprintf("%#08x", foreign.Index) != index {
			t.Errorf("%s: %v", index, err)
		}
		if _, err := tpm.Floor(); err == nil {
			t.Errorf("%s: a floor", index)
		}
	}
}

// Each command of the making fails once, before it is carried out or after; what was
// cut short is made whole by the next try, and the floor begins at zero.
func TestFloorCutShort(t *testing.T) {
	for name, code := range map[string]uint32{"NV_DefineSpace": swtpm.NVDefineSpace, "NV_Increment": swtpm.NVIncrement, "NV_Write": swtpm.NVWrite, "NV_WriteLock": swtpm.NVWriteLock, "NV_Read": swtpm.NVRead} {
		for _, kind := range []swtpm.Kind{swtpm.Refuse, swtpm.ApplyAndRefuse, swtpm.Close, swtpm.ApplyAndClose} {
			t.Run(fmt.Sprintf("%s %d", name, kind), func(t *testing.T) {
				s := swtpm.Start(t)
				tpm := open(t, s, device.Config{})
				happened := s.Fail(swtpm.Fault{Code: code, Kind: kind, RC: swtpm.RCFailure})
				err := tpm.MakeFloor()
				<-happened
				if code != swtpm.NVDefineSpace && err == nil {
					t.Fatal("the failure was not noticed")
				}
				if got, err := tpm.Floor(); err == nil && got != 0 {
					t.Errorf("cut short, and the floor is %d", got)
				}
				must(t, tpm.MakeFloor())
				floorIs(t, tpm, 0)
			})
		}
	}
}

// An increment that fails is not repeated if it was carried out.
func TestRaiseFloorCutShort(t *testing.T) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	must(t, tpm.MakeFloor())
	floor := uint64(0)
	for _, kind := range []swtpm.Kind{swtpm.Refuse, swtpm.ApplyAndRefuse, swtpm.Close, swtpm.ApplyAndClose} {
		happened := s.Fail(swtpm.Fault{Code: swtpm.NVIncrement, Kind: kind, RC: swtpm.RCFailure})
		err := tpm.RaiseFloor(floor + 2)
		<-happened
		if (err == nil) != kind.Applied() {
			t.Errorf("kind %d: %v", kind, err)
		}
		must(t, tpm.RaiseFloor(floor+2))
		floor += 2
		floorIs(t, tpm, floor)
	}
}

// A TPM that says that it counted and did not is not asked for ever.
func TestRaiseFloorThatDoesNotMove(t *testing.T) {
	s := swtpm.Start(t)
	tpm := open(t, s, device.Config{})
	must(t, tpm.MakeFloor())
	done := []byte{0x80, 0x02, 0, 0, 0, 19, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0} // TPM_ST_SESSIONS, TPM_RC_SUCCESS
	s.Fail(swtpm.Fault{Code: swtpm.NVIncrement, Times: -1, Kind: swtpm.Replace, Response: done})
	if err := tpm.RaiseFloor(2); err == nil || !strings.Contains(err.Error(), "does not move") {
		t.Error(err)
	}
	s.Heal()
	floorIs(t, tpm, 0)
}
