package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/boot/machine"
)

// lived is how long a board runs before its first process is made to hang: more than the 30 seconds that QEMU's watchdog waits,
// by the machine's clock, which is the watchdog's too.
const lived = 40 * time.Second

// hang has the first process's loop hang, when it is asked: what the kernel says of a USB device, which that loop reads at each
// look, never answers any more. All else goes on.
func hang() error {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &now); err != nil {
		return err
	}
	<-time.After(lived - time.Duration(now.Nano()))
	fmt.Println("stuck: the board has run for", lived)
	return onceAsked(func() error {
		const silent = "/run/silent"
		return errors.Join(
			os.WriteFile("/dev/kmsg", []byte("<3>stuck: a device never answers from here on\n"), 0), // as an error: that is kept where the kernel is quiet
			unix.Mkfifo(silent, 0o600), // to read it waits for somebody to write
			unix.Mount(silent, "/sys/bus/usb/devices/1-0:1.0/bInterfaceClass", "", unix.MS_BIND, ""))
	})
}

// leave has another process feed the watchdog once and end, and does nothing more.
func leave() {
	_ = unix.Mount("dev", "/dev", "devtmpfs", 0, "")
	child, err := os.StartProcess("/guest", []string{"feed"}, &os.ProcAttr{Files: []*os.File{os.Stdin, os.Stdout, os.Stderr}})
	if err == nil {
		_, err = child.Wait()
	}
	fmt.Println("leave: who fed the watchdog has ended,", err)
	for {
		_ = unix.Pause()
	}
}

// feed feeds it, as the image's first process does.
func feed() {
	const path = "/dev/watchdog"
	_, missing := os.Stat(path)
	w, err := machine.OpenWatchdog(path)
	fmt.Println("feed:", errors.Join(missing, err, w.Feed()))
}
