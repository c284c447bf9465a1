package recipe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"

	"touchmark/appliance/update"
	"touchmark/image/board"
	"touchmark/image/bootsig"
	"touchmark/image/card"
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
	p.files[BootImage], err = bootImage(boot)
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

// initramfs is the root: our programs and the folders that the kernel's file systems are mounted on.
func initramfs(ctx context.Context, programs []program) ([]byte, error) {
	var entries []cpio.Entry
	for _, dir := range []string{"bin", "dev", "proc", "sys", "run"} {
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

// bootImage is the smallest volume of whole MiB that holds the files.
func bootImage(files []fat.File) ([]byte, error) {
	const mib = 1 << 20 / fat.SectorSize
	for sectors := (fat.MinSectors + mib - 1) / mib * mib; sectors <= MaxBootImage/fat.SectorSize; sectors += mib {
		b, err := fat.Volume{Label: "TM-BOOT", ID: card.Signature, Sectors: sectors, Date: date, Files: files}.Bytes()
		if !errors.Is(err, fat.ErrFull) {
			return b, err
		}
	}
	return nil, fmt.Errorf("%s would have more than %d bytes", BootImage, MaxBootImage)
}

// MaxBootImage bounds boot.img: the boot loader has it in memory, next to what is in it.
const MaxBootImage = 16 << 20

// sign makes boot.sig and the slot.
func (r Recipe) sign(ctx context.Context, p *parts) error {
	boot := p.files[BootImage]
	sig, err := Sign(ctx, boot, r.Signer)
	if err != nil {
		return err
	}
	p.files[BootSig] = sig.Bytes()
	p.files[SlotImage], err = card.Slot{Config: []byte(board.SlotConfig), Boot: boot, Sig: sig.Bytes()}.Bytes(date)
	return err
}

// Sign makes the boot.sig of a boot.img, signed or, without a signer, not.
func Sign(ctx context.Context, boot []byte, s Signer) (bootsig.Sig, error) {
	if s == nil {
		return bootsig.New(boot, date.Unix(), nil, nil)
	}
	return bootsig.New(boot, date.Unix(), s.Public(), func(digest []byte) ([]byte, error) { return s.Sign(ctx, boot, digest) })
}

// card writes what goes onto an SD card, with so many sectors for the data: a sparse file.
func (r Recipe) card(ctx context.Context, p *parts, path string, data uint32) (err error) {
	selected, err := card.Select(update.First().Marshal(), date)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.Truncate((card.DataStart + int64(data)) * fat.SectorSize); err != nil {
		return err
	}
	for at, content := range map[int64][]byte{
		0:                                 card.Table(data),
		card.SelectStart:                  selected,
		card.SlotStart:                    p.files[SlotImage],
		card.SlotStart + card.SlotSectors: p.files[SlotImage],
	} {
		if err := writeSparse(f, content, at*fat.SectorSize); err != nil {
			return err
		}
	}
	return makeData(ctx, path, data)
}

// writeSparse leaves pages out that are zero.
func writeSparse(f *os.File, b []byte, at int64) error {
	const page = 4096
	zero := make([]byte, page)
	for len(b) > 0 {
		n := min(page, len(b))
		if !bytes.Equal(b[:n], zero[:n]) {
			if _, err := f.WriteAt(b[:n], at); err != nil {
				return err
			}
		}
		b, at = b[n:], at+int64(n)
	}
	return nil
}

// dataFeatures are ext4's: without its configuration mkfs.ext4 makes an ext2, and a board that has no e2fsck needs a
// journal after each power cut.
const dataFeatures = "has_journal,extent,flex_bg,metadata_csum,64bit,huge_file,dir_nlink,extra_isize"

// makeData makes the file system for the log. mkfs.ext4 draws a number and looks at the clock; both are given.
func makeData(ctx context.Context, path string, sectors uint32) error {
	const id = "746f7563-686d-4172-ab21-646174610001" // "touchmark", "data"
	cmd := exec.CommandContext(ctx, "mkfs.ext4", "-q", "-F", "-b", "4096", "-m", "0", "-O", dataFeatures, "-I", "256", "-L", "touchmark-data", "-U", id,
		"-E", fmt.Sprintf("hash_seed=%s,lazy_itable_init=0,lazy_journal_init=0,root_owner=0:0,nodiscard,offset=%d", id, card.DataStart*fat.SectorSize),
		path, fmt.Sprintf("%ds", sectors))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin:/sbin", "LC_ALL=C", "MKE2FS_CONFIG=/dev/null",
		fmt.Sprintf("E2FSPROGS_FAKE_TIME=%d", date.Unix()), fmt.Sprintf("SOURCE_DATE_EPOCH=%d", date.Unix())}
	if said, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("mkfs.ext4: %w: %s", err, bytes.TrimSpace(said))
	}
	return nil
}
