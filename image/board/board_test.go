package board

import (
	"strings"
	"testing"

	"touchmark/appliance/boot"
)

// TestTheFirstProcessUnderstands: a word that it does not know keeps a board from starting.
func TestTheFirstProcessUnderstands(t *testing.T) {
	for _, b := range Boards {
		line := b.CommandLine()
		o, err := boot.ParseOptions(line)
		if err != nil {
			t.Errorf("%s: %v", b.Name, err)
		}
		if o.Board != b.Name {
			t.Errorf("%s calls itself %s", b.Name, o.Board)
		}
		if (b.Name == "rpi4") != (o.Link == boot.Gadget) {
			t.Errorf("%s has its link on %s", b.Name, o.Link)
		}
		if strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
			t.Errorf("%s: command line %q is not one line", b.Name, line)
		}
		// /proc/cmdline, which the board measures, is 2048 bytes on arm64 (COMMAND_LINE_SIZE).
		if len(line) > 1024 {
			t.Errorf("%s: command line of %d bytes", b.Name, len(line))
		}
	}
}

func TestNamed(t *testing.T) {
	if b, err := Named("cm4"); err != nil || b.Name != "cm4" {
		t.Errorf("%+v %v", b, err)
	}
	if _, err := Named("rpi5"); err == nil || !strings.Contains(err.Error(), "rpi4, cm4, qemu") {
		t.Error(err)
	}
}

// TestBootConfig: what the boot loader is told to load is in boot.img under that name; package recipe puts it there.
func TestBootConfig(t *testing.T) {
	text := Boards[0].BootConfig()
	for _, name := range []string{"kernel8.img", "board.dtb", "initrd.zst", "cmdline.txt"} {
		if !strings.Contains(text, name) {
			t.Errorf("config.txt does not name %s", name)
		}
	}
}
