package recipe

import (
	"bytes"
	"context"
	"crypto/rsa"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"touchmark/appliance/update"
	"touchmark/image/board"
	"touchmark/image/bootimg"
	"touchmark/image/bootsig"
	"touchmark/image/card"
	"touchmark/image/fat"
)

// sign makes boot.sig and the slot.
func (r Recipe) sign(ctx context.Context, p *parts) error {
	boot := p.files[BootImage]
	sig, err := Sign(ctx, boot, r.Signer)
	if err != nil {
		return err
	}
	p.files[BootSig] = sig.Bytes()
	p.files[SlotImage], err = slotOf(boot, sig, date)
	return err
}

// Sign makes the boot.sig of a boot.img, signed or, without a signer, not. What is no boot.img of ours is refused with
// [bootimg.ErrFormat]: a signature is for ever.
func Sign(ctx context.Context, boot []byte, s Signer) (bootsig.Sig, error) {
	image, err := bootimg.Parse(boot)
	if err != nil {
		return bootsig.Sig{}, err
	}
	if s == nil {
		return bootsig.New(boot, image.Date.Unix(), nil, nil)
	}
	return bootsig.New(boot, image.Date.Unix(), s.Public(), func(digest []byte) ([]byte, error) { return s.Sign(ctx, boot, digest) })
}

func slotOf(boot []byte, sig bootsig.Sig, date time.Time) ([]byte, error) {
	return card.Slot{Config: []byte(board.SlotConfig), Boot: boot, Sig: sig.Bytes()}.Bytes(date)
}

// Assemble puts a boot.img and its boot.sig into a slot and onto a card, [SlotImage] and [CardImage] in a folder, with so
// many sectors for the data: those of the build, if the boot.sig is. With a key, boot.sig must be signed by it. Nothing
// that is there is replaced.
func Assemble(ctx context.Context, boot, sig []byte, key *rsa.PublicKey, dir string, data uint32) (err error) {
	image, err := bootimg.Parse(boot)
	if err != nil {
		return err
	}
	parsed, err := bootsig.Parse(sig)
	if err != nil {
		return err
	}
	if err := parsed.Check(boot, key); err != nil {
		return err
	}
	slot, err := slotOf(boot, parsed, image.Date)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, name := range []string{SlotImage, CardImage} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already: name a new folder", filepath.Join(dir, name))
		}
	}
	tmp, err := os.MkdirTemp(dir, ".new.*")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	if err := writeCard(ctx, slot, image.Date, filepath.Join(tmp, CardImage), data); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(tmp, SlotImage), slot, 0o644); err != nil {
		return err
	}
	for _, name := range []string{SlotImage, CardImage} {
		if err := os.Rename(filepath.Join(tmp, name), filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

// writeCard writes what goes onto an SD card, the slot twice, with so many sectors for the data: a sparse file.
func writeCard(ctx context.Context, slot []byte, date time.Time, path string, data uint32) (err error) {
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
		card.SlotStart:                    slot,
		card.SlotStart + card.SlotSectors: slot,
	} {
		if err := writeSparse(f, content, at*fat.SectorSize); err != nil {
			return err
		}
	}
	return makeData(ctx, path, data, date)
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
func makeData(ctx context.Context, path string, sectors uint32, date time.Time) error {
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
