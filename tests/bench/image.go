//go:build emulated

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"touchmark/tests/image/qemu"
)

// What the image's rows are made with.
const (
	imageEntries  = 100_000 // least of the log that the board starts with
	imageLog      = 10_000  // signatures of the log that it is made of, over and over
	imageRounds   = 5
	imageReady    = 2.5       // seconds that a start may take
	machineMemory = 256 << 10 // KiB
)

// imageRows measures the board's image, as `make image BOARD=qemu` has made it, in QEMU's machine "virt" under TCG with two
// processors. A start is from the machine's first instruction until the board is ready: log and TPM agree, a boot entry is
// written, the token was found, the line answers. Nobody is asked for the time (touchmark.clock=system), because people are not
// measured. Its peer, in the same machine, is Debian's kernel for arm64 with Debian's systemd, udev and a login prompt, from its
// first instruction to the prompt: a system that can start a signer then. Its root is an initramfs that is not packed, it has no
// disk, no network and nothing to check. They start alternately. The processor is QEMU's own, with PAN and E0PD; one row is about a
// Cortex-A72, the Raspberry Pi 4's, which has neither, so that its kernel does in software what makes this emulator forget
// addresses (docs/image/build.md).
func imageRows(ctx context.Context, o options, dir string) (rows []Row, err error) {
	for _, made := range []string{filepath.Join(o.image, "sdcard.img"), filepath.Join(o.bin, "touchmark-image"), filepath.Join(o.peer(), "root.cpio")} {
		if _, err := os.Stat(made); err != nil {
			fmt.Fprintf(os.Stderr, "bench: no rows of the image: %v: run make image BOARD=qemu, then make bench ONLY=image\n", err)
			return nil, nil
		}
	}
	if rows, err = imageSizes(o.image); err != nil {
		return nil, err
	}
	cached, err := cachedBuild(ctx, o, dir)
	if err != nil {
		return nil, err
	}
	rows = append(rows, cached)
	b, err := newImageBoard(ctx, o, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.w.Close()) }()
	ours, a72, peer, err := b.starts(ctx, o)
	if err != nil {
		return nil, err
	}
	ready, older := summary("image_ready_s", "s", imageReady, ours), summary("image_ready_a72_s", "s", imageReady, a72)
	beside := against(summary("image_ready_vs_debian", "s", 1, ours), "Debian's kernel and systemd to the login prompt", peer)
	memory, err := b.memory(ctx)
	for _, r := range []Row{ready, older, beside, memory} {
		r.Size = int(b.entries)
		rows = append(rows, r)
	}
	return rows, err
}

// starts are how many seconds starts take: the image, the same on a Cortex-A72, the peer, alternately.
func (b *imageBoard) starts(ctx context.Context, o options) (ours, a72, peer []float64, err error) {
	for i := range imageRounds + 1 {
		for _, s := range []struct {
			what string
			run  func() (time.Duration, error)
			took *[]float64
		}{
			{"the image", func() (time.Duration, error) { return b.start(ctx, nil) }, &ours},
			{"the image on Cortex-A72", func() (time.Duration, error) { return b.startOn(ctx, qemu.A72) }, &a72},
			{"the peer", func() (time.Duration, error) { return b.startPeer(ctx, o) }, &peer},
		} {
			took, err := s.run()
			if err != nil {
				return nil, nil, nil, fmt.Errorf("%s: %w", s.what, err)
			}
			if i > 0 { // the first start gives outcomes to intents that have none
				*s.took = append(*s.took, took.Seconds())
			}
		}
	}
	return ours, a72, peer, nil
}

// peer is where debian.sh has put Debian.
func (o options) peer() string { return filepath.Join(filepath.Dir(o.out), "peer-arm64") }

// imageSizes are the files' sizes, in MB of 10^6 bytes.
func imageSizes(image string) (rows []Row, err error) {
	for _, f := range []struct {
		row, file string
		most      float64
	}{{"bootimg_mb", "boot.img", 16}, {"initramfs_mb", "initrd.zst", 6}, {"kernel_mb", "Image", 7}} {
		info, err := os.Stat(filepath.Join(image, f.file))
		if err != nil {
			return nil, err
		}
		rows = append(rows, summary(f.row, "MB", f.most, []float64{float64(info.Size()) / 1e6}))
	}
	return rows, nil
}

// memory is what the whole board uses when it is ready: what it has, without what the kernel says that programs could have.
func (b *imageBoard) memory(ctx context.Context) (Row, error) {
	machine := b.machine
	defer func() { b.machine = machine }()
	if err := b.addMemory(ctx); err != nil {
		return Row{}, err
	}
	var available float64
	_, err := b.start(ctx, func(ctx context.Context) (err error) {
		available, err = b.available(ctx)
		return err
	})
	return summary("image_memory_mib", "MiB", 64, []float64{(machineMemory - available) / 1024}), err
}

// available is what the guest says after the board is ready.
func (b *imageBoard) available(ctx context.Context) (kib float64, err error) {
	for from := len(b.console()); ctx.Err() == nil; {
		for _, line := range b.console()[from:] {
			if n, err := fmt.Sscanf(line, "available %f", &kib); n == 1 && err == nil {
				return kib, nil
			}
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return 0, ctx.Err()
}

// startPeer is one start of Debian.
func (b *imageBoard) startPeer(ctx context.Context, o options) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, imagePatience)
	defer cancel()
	argv := append(qemu.Virt(b.machine.Processor), "-S", "-m", "512", "-kernel", filepath.Join(o.peer(), "vmlinuz"), "-initrd", filepath.Join(o.peer(), "root.cpio"),
		"-append", "console=ttyAMA0,115200 quiet rdinit=/init", "-qmp", "unix:"+b.machine.Monitor)
	prompted, once := make(chan struct{}), sync.Once{}
	return b.power(ctx, argv, func(line string) {
		if strings.HasSuffix(line, "peer ttyAMA0") { // the prompt comes with it
			once.Do(func() { close(prompted) })
		}
	}, func(ctx context.Context, begin time.Time) (time.Duration, error) {
		select {
		case <-prompted:
			return time.Since(begin), nil
		case <-b.w.Appliance().Done():
			return 0, errors.New("the machine ended")
		case <-ctx.Done():
			return 0, errors.New("there is no prompt")
		}
	})
}
