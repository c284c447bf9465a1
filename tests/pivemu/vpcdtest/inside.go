package vpcdtest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
	"unsafe"

	"touchmark/tests/pivemu"
	"touchmark/tests/pivemu/front"
)

const (
	// startTimeout bounds the start of pcscd; it takes a fraction of a second.
	startTimeout = 2 * time.Minute
	pollEvery    = 5 * time.Millisecond
	commSocket   = "/run/pcscd/pcscd.comm"
)

// readerConf names the reader as a YubiKey's is named: yubico-piv-tool and
// ykman look for that.
const readerConf = `FRIENDLYNAME "Yubico YubiKey CCID"
DEVICENAME   /dev/null:0x8C7B
LIBPATH      ` + vpcdLib + `
CHANNELID    0x8C7B
`

// inside runs as process 1 of the namespaces: when it returns, the kernel kills
// everything that was started here.
func inside(o Options, argv []string) (int, error) {
	if err := isolate(o.Dir); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	if err := startPCSCD(ctx, o.Dir); err != nil {
		return 0, err
	}
	if !o.NoToken {
		if err := startToken(ctx, o); err != nil {
			return 0, err
		}
	}
	return run(argv)
}

// isolate makes the mounts private, gives processes a file system of their own,
// puts dir's "run" where pcscd keeps its socket, and brings the loopback
// interface up.
func isolate(dir string) error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("making the mounts private: %w", err)
	}
	if err := syscall.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := mountRun(filepath.Join(dir, runDir), filepath.Dir(commSocket)); err != nil {
		return err
	}
	return loopbackUp()
}

// mountRun puts an empty directory in the place where pcscd keeps its socket,
// so that the socket can also be reached from outside.
func mountRun(own, place string) error {
	// What a pcscd that was killed has left there would keep the next from starting.
	if err := errors.Join(os.RemoveAll(own), os.Mkdir(own, 0o755)); err != nil {
		return err
	}
	if _, err := os.Stat(place); err != nil { // pcscd never ran here
		above := filepath.Dir(place)
		if err := syscall.Mount("tmpfs", above, "tmpfs", 0, "mode=0755"); err != nil {
			return fmt.Errorf("mounting a tmpfs on %s: %w", above, err)
		}
		if err := os.Mkdir(place, 0o755); err != nil {
			return err
		}
	}
	if err := syscall.Mount(own, place, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mounting %s on %s: %w", own, place, err)
	}
	return nil
}

// loopbackUp is `ip link set lo up`.
func loopbackUp() error {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = syscall.Close(fd) }()
	var request struct { // struct ifreq of netdevice(7)
		name  [syscall.IFNAMSIZ]byte
		flags uint16
		_     [22]byte
	}
	copy(request.name[:], "lo")
	request.flags = syscall.IFF_UP | syscall.IFF_RUNNING
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCSIFFLAGS, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return fmt.Errorf("bringing the loopback interface up: %w", errno)
	}
	return nil
}

func startPCSCD(ctx context.Context, dir string) error {
	conf := filepath.Join(dir, "reader.conf.d")
	if err := os.MkdirAll(conf, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(conf, "vpcd"), []byte(readerConf), 0o644); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "pcscd.log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	path, err := pcscdPath()
	if err != nil {
		return err
	}
	cmd := exec.Command(path, "--foreground", "--config", conf)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	return poll(ctx, ended, "pcscd does not start: see "+log.Name(), func() bool {
		return dials("unix", commSocket)
	})
}

// dials tells whether somebody listens. vpcd is not asked this way: it would
// take the connection for a card.
func dials(network, address string) bool {
	conn, err := net.Dial(network, address)
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// poll waits until ready, for as long as ctx allows and nothing has ended.
func poll(ctx context.Context, ended <-chan error, failure string, ready func() bool) error {
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for !ready() {
		select {
		case <-ticker.C:
		case err := <-ended:
			return errors.Join(errors.New(failure), err)
		case <-ctx.Done():
			return errors.Join(errors.New(failure), ctx.Err())
		}
	}
	return nil
}

// startToken puts the token into vpcd's reader and waits until pcscd has
// powered it.
func startToken(ctx context.Context, o Options) error {
	log, err := os.OpenFile(filepath.Join(o.Dir, "apdu.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	card, err := pivemu.New(pivemu.Config{
		Profile: o.Profile, Serial: o.Serial, StatePath: o.State, Log: log,
		Touch: pivemu.TouchMode(o.Touch), TouchTimeout: o.Timeout,
	})
	if err != nil {
		return err
	}
	port := front.NewPort(card)
	control := filepath.Join(o.Dir, controlSocket)
	if _, err := port.ServeControl(control, port.Close); err != nil {
		return err
	}
	if err := errors.Join(os.Setenv("PIVEMU_CONTROL", control), port.DialVPCD(VPCDAddr)); err != nil {
		return err
	}
	select {
	case <-port.Powered():
		return nil
	case <-ctx.Done():
		return errors.New("pcscd does not power the token: see pcscd.log and apdu.log in " + o.Dir)
	}
}

// run runs the command with our standard streams, passing on the signals that
// ask us to end. Without a command it waits for such a signal.
func run(argv []string) (int, error) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	if len(argv) == 0 {
		if _, err := fmt.Println(readyLine); err != nil {
			return 0, err
		}
		<-signals
		return 0, nil
	}
	if err := errors.Join(os.Setenv("VPCD_ADDR", VPCDAddr), os.Setenv("PIVEMU_READER", Reader)); err != nil {
		return 0, err
	}
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s)
		}
	}()
	err := cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, err
	}
	if status := cmd.ProcessState.Sys().(syscall.WaitStatus); status.Signaled() {
		return 128 + int(status.Signal()), nil
	}
	return cmd.ProcessState.ExitCode(), nil
}
