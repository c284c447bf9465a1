package swtpm

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// ForMachine runs a TPM for a virtual machine, whose state is kept in dir: QEMU
// connects to Control, and the machine's power is the TPM's. It serves one machine, to
// its end; Stop it, and another one goes on with the same state.
func ForMachine(dir string) (*Server, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	sockets, err := os.MkdirTemp("", "swtpm")
	if err != nil {
		return nil, err
	}
	s := &Server{state: dir, dir: sockets, ownDir: true, done: make(chan struct{})}
	if err := s.launchForMachine(); err != nil {
		s.removeSockets()
		return nil, err
	}
	return s, nil
}

// Control is the socket that QEMU is given: -chardev socket,id=tpm,path=CONTROL
// -tpmdev emulator,id=tpm,chardev=tpm.
func (s *Server) Control() string { return s.path("raw.ctrl") }

func (s *Server) launchForMachine() error {
	binary, err := exec.LookPath("swtpm")
	if err != nil {
		return err
	}
	control, err := listenFile(s.Control())
	if err != nil {
		return err
	}
	defer control.Close()
	cmd := exec.Command(binary, "socket", "--tpm2", "--tpmstate", "dir="+s.state, "--ctrl", "type=unixio,fd=3", "--terminate",
		"--log", "level=1,truncate,file="+filepath.Join(s.state, "swtpm.log"))
	cmd.ExtraFiles = []*os.File{control}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return s.supervise(cmd)
}
