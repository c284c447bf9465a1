package swtpm

import (
	"encoding/binary"
	"net"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// TestForMachine does what QEMU does: it hands the TPM a socket, gives it power, and speaks to it there; and what is done to
// the TPM beside it meanwhile it meets. Without the wire, its machine's reset is none of the TPM's.
func TestForMachine(t *testing.T) {
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := ForMachine(t.TempDir())
	ok(err)
	defer func() { ok(s.Stop()) }()
	control, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: s.Control(), Net: "unix"})
	ok(err)
	defer control.Close()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ok(err)
	line := os.NewFile(uintptr(pair[0]), "line")
	defer line.Close()
	order := func(rights []byte, words ...uint32) {
		t.Helper()
		var request []byte
		for _, w := range words {
			request = binary.BigEndian.AppendUint32(request, w)
		}
		_, _, err := control.WriteMsgUnix(request, rights, nil)
		ok(err)
		answer := make([]byte, 4)
		_, err = control.Read(answer)
		ok(err)
		if code := binary.BigEndian.Uint32(answer); code != 0 {
			t.Fatalf("control command %v: %#x", words, code)
		}
	}
	order(unix.UnixRights(pair[1]), ctrlSetDataFD)
	ok(unix.Close(pair[1]))
	order(nil, ctrlInit, 0)
	command := func(code uint32, su uint16, want uint32) {
		t.Helper()
		b := binary.BigEndian.AppendUint32([]byte{0x80, 0x01, 0, 0, 0, 12}, code)
		_, err := line.Write(binary.BigEndian.AppendUint16(b, su))
		ok(err)
		answer, err := readMessage(line)
		ok(err)
		if got := binary.BigEndian.Uint32(answer[6:]); got != want {
			t.Fatalf("command %#x: %#x, want %#x", code, got, want)
		}
	}
	const startup, selfTest, notStarted, startedAlready = 0x144, 0x143, 0x100, 0x100
	command(startup, suClear, 0)
	command(startup, suClear, startedAlready)
	order(nil, ctrlStop)
	order(nil, ctrlInit, 0)
	command(startup, suClear, 0)
	s.Unwire()
	order(nil, ctrlStop)
	order(nil, ctrlInit, 0)
	command(startup, suClear, startedAlready)
	ok(s.Reset())
	command(selfTest, 0x0100, notStarted)
	ok(s.PowerCycle())
	command(startup, suClear, startedAlready)
	if _, err := s.Tool("tpm2_pcrread", "sha256:14"); err != nil {
		t.Error(err)
	}
}
