package card

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"

	"touchmark/appliance/update"
	"touchmark/tpm/ledgerstore/durable"
)

// BootID is where the kernel tells one start of the machine from another.
const BootID = "/proc/sys/kernel/random/boot_id"

// Begin opens the card that this program's image was started from and makes the
// first act of a start on it (update.State.AtStart).
func Begin(path string) (*Card, update.Start, update.Event, error) {
	start, err := thisStart()
	if err != nil {
		return nil, start, update.Nothing, err
	}
	c, err := Open(durable.OS, path)
	if err != nil {
		return nil, start, update.Nothing, err
	}
	event, err := c.AtStart(update.Serial, start)
	if err != nil {
		return nil, start, event, errors.Join(err, c.Close())
	}
	return c, start, event, nil
}

// thisStart reads which start of the machine this is.
func thisStart() (s update.Start, err error) {
	text, err := os.ReadFile(BootID)
	if err != nil {
		return s, err
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(b) != len(s) {
		return s, fmt.Errorf("%s: %q is not the identity of a start", BootID, text)
	}
	return update.Start(b), nil
}
