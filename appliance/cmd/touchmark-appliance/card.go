package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/cli/datadir"
	"touchmark/appliance/station"
	"touchmark/appliance/update"
	"touchmark/appliance/update/card"
	"touchmark/hostlink/message"
)

// cardFlags are about the card that the board is started from.
type cardFlags struct {
	path, kind, booted string
}

func (f *cardFlags) add(c *cobra.Command) {
	c.Flags().StringVar(&f.path, "card", "", "the card that this board is started from, such as /dev/mmcblk0: administrators' orders replace its image")
	c.Flags().StringVar(&f.kind, "board", "", "the kind of this board, such as rpi4; images are for one kind")
	c.Flags().StringVar(&f.booted, "slot", "", "A or B: the slot that the boot loader says it started")
}

func (f *cardFlags) check() error {
	switch {
	case f.path == "" && (f.kind != "" || f.booted != ""):
		return &cli.UsageError{Err: fmt.Errorf("--board and --slot go with --card")}
	case f.path == "":
	case !message.ValidToken(f.kind):
		return &cli.UsageError{Err: fmt.Errorf("--card needs --board, the kind of this board: a word of lowercase letters, digits, dots and hyphens")}
	case f.booted != "" && f.slot() == 0:
		return &cli.UsageError{Err: fmt.Errorf("--slot %s: it is A or B", f.booted)}
	}
	return nil
}

// slot is what --slot says, 0 if nothing.
func (f *cardFlags) slot() update.Slot {
	s, _ := update.SlotNamed(f.booted)
	return s
}

// updates opens the card, nil if there is none. A card that cannot be used is no
// reason not to sign, but the TPM's counter is held against this image all the same.
func (f *cardFlags) updates(tpm *datadir.LateTPM) *station.Updates {
	if f.path == "" {
		return nil
	}
	u := &station.Updates{Floor: tpm, Board: update.Board{Kind: f.kind, Version: update.Version, Serial: update.Serial, Booted: f.slot()}}
	c, start, event, err := card.Begin(f.path)
	if u.Board.Start, u.Event, u.Fault = start, event, err; err == nil {
		u.Card = c
	}
	return u
}
