package recipe

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

	"touchmark/image/board"
	"touchmark/image/bootimg"
	"touchmark/image/cpio"
	"touchmark/image/debian"
	"touchmark/image/fat"
)

// pack makes initramfs and boot.img.
func (r Recipe) pack(ctx context.Context, p *parts) error {
	image, err := os.ReadFile(p.kernel.File("Image"))
	if err != nil {
		return err
	}
	p.files[KernelImage] = image
	if p.files[Initramfs], err = initramfs(ctx, p.programs); err != nil {
		return err
	}
	p.files[CommandLine] = []byte(r.Board.CommandLine())
	boot := []fat.File{
		{Name: board.ConfigFile, Content: []byte(r.Board.BootConfig())},
		{Name: CommandLine, Content: p.files[CommandLine]},
		{Name: board.KernelFile, Content: image},
		{Name: Initramfs, Content: p.files[Initramfs]},
	}
	if r.Board.Tree != "" {
		if p.files[Tree], err = os.ReadFile(p.kernel.File(r.Board.Tree)); err != nil {
			return err
		}
		boot = append(boot, fat.File{Name: Tree, Content: p.files[Tree]})
	}
	if r.Board.Firmware {
		if boot, err = addFirmware(ctx, boot, p.packages[firmware.Name]); err != nil {
			return err
		}
	}
	p.files[BootImage], err = bootimg.Make(boot, date)
	return err
}

// addFirmware puts the firmware's files first: the boot loader reads them first.
func addFirmware(ctx context.Context, boot []fat.File, deb string) ([]fat.File, error) {
	var files []fat.File
	for _, f := range firmwareFiles {
		content, err := debian.Extract(ctx, deb, f.path)
		if err != nil {
			return nil, err
		}
		files = append(files, fat.File{Name: f.name, Content: content})
	}
	return append(files, boot...), nil
}

// initramfs is the root: our programs and the folders that the kernel's file systems are mounted on. It has itself too: a kernel
// would let everybody write into it.
func initramfs(ctx context.Context, programs []program) ([]byte, error) {
	var entries []cpio.Entry
	for _, dir := range []string{".", "bin", "dev", "proc", "sys", "run"} {
		entries = append(entries, cpio.Entry{Name: dir, Mode: fs.ModeDir | 0o755})
	}
	for _, prog := range programs {
		entries = append(entries, cpio.Entry{Name: prog.path, Mode: 0o555, Content: prog.content})
	}
	archive, err := cpio.Archive(entries)
	if err != nil {
		return nil, err
	}
	return compress(ctx, archive)
}

// compress packs with Debian's zstd, on one thread: its output is then a function of its version and its input. A window as
// large as the archive finds what the programs have in common.
func compress(ctx context.Context, b []byte) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "zstd", "-q", "-12", "--long=24", "--single-thread", "--no-check", "-c")
	var said bytes.Buffer
	cmd.Stdin, cmd.Stderr = bytes.NewReader(b), &said
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("zstd: %w: %s", err, bytes.TrimSpace(said.Bytes()))
	}
	return out, nil
}
