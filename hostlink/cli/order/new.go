package order

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/sigformat/openpgp/subkey"
	"touchmark/appliance/update"
	"touchmark/hostlink/binding"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledger/tokenkey"
)

// draft are the flags of order new.
type draft struct {
	checkpoint, reason, out, time, halt, head, pcr, successor, genesis, logKey, tokenKey, key, renew, bind, slot, board, version string

	serial uint64
	revoke int // -1: not given
}

func newCommand(a *cli.App) *cobra.Command {
	var d draft
	c := &cobra.Command{
		Use:   "new time|resume|note|key|cert|image|close --checkpoint FILE --reason TEXT --out FILE",
		Short: "Write an order, to be signed",
		Example: `  touchmark order new note --checkpoint log/checkpoint --reason "moved to rack 7" --out move.order
  touchmark order new time --time 2026-03-04T05:06:07Z --checkpoint log/checkpoint --reason "the clock ran ahead" --out clock.order
  touchmark order new resume --halt head-unknown --head HEX --pcr HEX --checkpoint log/checkpoint --reason "the card was lost" --out go-on.order
  touchmark order new key --log-key touchmark.example/demo+254fe022+AXYj… --checkpoint log/checkpoint --reason "yearly" --out key.order
  touchmark order new key --token-key spare.key --checkpoint log/checkpoint --reason "a spare token" --out spare.order
  touchmark order new cert --key packages --renew 2028-01-01T00:00:00Z --checkpoint log/checkpoint --reason "two years more" --out renew.order
  touchmark order new cert --key packages --revoke 1 --checkpoint log/checkpoint --reason "superseded" --out revoke.order
  touchmark order new cert --key packages --bind release.asc --checkpoint log/checkpoint --reason "a subkey of our release key" --out bind.order
  touchmark order new image --slot slot.img --board rpi4 --version 0.2.0 --serial 2 --checkpoint log/checkpoint --reason "the kernel's fixes of May" --out image.order`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return newOrder(a, args[0], d) },
	}
	f := c.Flags()
	f.StringVar(&d.checkpoint, "checkpoint", "", "published checkpoint of the log as you know it")
	f.StringVar(&d.reason, "reason", "", "why: one line that stands in the log for ever")
	f.StringVar(&d.out, "out", "", "where to write the order; it must not exist")
	f.StringVar(&d.time, "time", "", "time: what the clock shall be set to")
	f.StringVar(&d.halt, "halt", "", "resume: the halt state that the board shows")
	f.StringVar(&d.head, "head", "", "resume: HEAD as the board shows it")
	f.StringVar(&d.pcr, "pcr", "", "resume: the PCR as the board shows it")
	f.StringVar(&d.successor, "successor", "", "close: origin of the log that goes on, if there is one")
	f.StringVar(&d.genesis, "genesis", "", "close: leaf hash of its entry 0")
	f.StringVar(&d.logKey, "log-key", "", "key: the new log key's public half, as touchmark-appliance log-key new prints it")
	f.StringVar(&d.tokenKey, "token-key", "", "key: record of a token's key that joins the log's, as touchmark-appliance token-key new writes it")
	f.StringVar(&d.key, "key", "", "cert: the key's name in the policy")
	f.StringVar(&d.renew, "renew", "", "cert: when the key shall expire: a time, or never")
	f.StringVar(&d.bind, "bind", "", "cert: have it agree to be a signing subkey of the primary key in this certificate")
	f.StringVar(&d.slot, "slot", "", "image: file with what a slot of the card shall hold, as the build made it")
	f.StringVar(&d.board, "board", "", "image: the kind of board that it is for, such as rpi4")
	f.StringVar(&d.version, "version", "", "image: the version of the appliance in it")
	f.Uint64Var(&d.serial, "serial", 0, "image: its serial, higher than that of any image before")
	f.IntVar(&d.revoke, "revoke", -1, "cert: revoke it; 0 no reason, 1 superseded, 2 compromised, 3 retired")
	return c
}

func newOrder(a *cli.App, kind string, d draft) error {
	if d.checkpoint == "" || d.reason == "" || d.out == "" {
		return api.Errorf(api.Usage, "order new needs --checkpoint, --reason and --out")
	}
	b, err := api.ReadSmall(d.checkpoint, message.MaxCheckpoint)
	if err != nil {
		return api.Errorf(api.BadInput, "checkpoint: %w", err)
	}
	origin, state, err := order.After(b)
	if err != nil {
		return api.Errorf(api.BadInput, "%s: %w", d.checkpoint, err)
	}
	action, err := d.action(kind)
	if err != nil {
		return err
	}
	o := &order.Order{Origin: origin, After: state, Action: action, Reason: d.reason}
	text, err := o.Marshal()
	if err != nil {
		return api.Errorf(api.BadInput, "%w", err)
	}
	if err := output.WriteNew(d.out, text); err != nil {
		return err
	}
	a.Made(d.out)
	return nil
}

func (d *draft) action(kind string) (order.Action, error) {
	switch kind {
	case ledger.KindNote:
		return &order.Note{}, nil
	case ledger.KindTime:
		t, err := time.Parse(time.RFC3339, d.time)
		if err != nil {
			return nil, api.Errorf(api.Usage, "--time: %w", err)
		}
		return &order.Time{To: t.UTC()}, nil
	case ledger.KindResume:
		head, err := hex32("--head", d.head)
		if err != nil {
			return nil, err
		}
		pcr, err := hex32("--pcr", d.pcr)
		return &order.Resume{Halt: d.halt, Head: head, PCR: pcr}, err
	case ledger.KindClose:
		if d.successor == "" {
			return &order.Close{}, nil
		}
		genesis, err := hex32("--genesis", d.genesis)
		return &order.Close{Successor: ledger.LogID{Origin: d.successor, Genesis: genesis}}, err
	case ledger.KindKey:
		if (d.logKey == "") == (d.tokenKey == "") {
			return nil, api.Errorf(api.Usage, "order new key needs --log-key or --token-key")
		}
		if d.tokenKey != "" {
			return joining(d.tokenKey)
		}
		if _, err := message.ParseKey(d.logKey); err != nil {
			return nil, api.Errorf(api.Usage, "--log-key: %w", err)
		}
		return &order.Key{LogKey: d.logKey}, nil
	case ledger.KindCert:
		return d.cert()
	case ledger.KindImage:
		return d.image()
	}
	return nil, api.Errorf(api.Usage, "order new makes time, resume, note, key, cert, image and close, not %q", kind)
}

// image is an order for the image in a file, whose hashes are taken here.
func (d *draft) image() (order.Action, error) {
	if d.slot == "" || d.board == "" || d.version == "" || d.serial == 0 {
		return nil, api.Errorf(api.Usage, "order new image needs --slot, --board, --version and --serial")
	}
	st, err := os.Stat(d.slot) // before it is opened, which a pipe would block
	if err != nil {
		return nil, api.Errorf(api.BadInput, "slot: %w", err)
	}
	if !st.Mode().IsRegular() || st.Size() > order.MaxImage {
		return nil, api.Errorf(api.BadInput, "slot: %s is no file of at most %d bytes", d.slot, order.MaxImage)
	}
	f, err := os.Open(d.slot)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "slot: %w", err)
	}
	defer func() { _ = f.Close() }()
	im := &order.Image{Board: d.board, Version: d.version, Serial: d.serial, Size: uint64(st.Size())}
	h := sha256.New()
	if _, err := io.Copy(h, io.LimitReader(f, st.Size())); err != nil {
		return nil, api.Errorf(api.BadInput, "slot: %w", err)
	}
	im.Slot = [32]byte(h.Sum(nil))
	if im.Image, err = update.BootImage(f, st.Size()); err != nil {
		return nil, api.Errorf(api.BadInput, "%s: %w", d.slot, err)
	}
	return im, nil
}

// joining is an order that adds the token's key of a record.
func joining(path string) (order.Action, error) {
	b, err := api.ReadSmall(path, tokenkey.MaxRecord)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "token key: %w", err)
	}
	k, err := tokenkey.Parse(b)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	return &order.Key{Token: k}, nil
}

// forms counts what a cert order is asked for.
func (d *draft) forms() (n int) {
	for _, given := range []bool{d.renew != "", d.revoke >= 0, d.bind != ""} {
		if given {
			n++
		}
	}
	return n
}

// agree is an order that has a key agree to the primary in a certificate.
func (d *draft) agree() (order.Action, error) {
	b, err := api.ReadSmall(d.bind, binding.MaxSecret)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "certificate: %w", err)
	}
	p, err := subkey.ReadPrimary(b)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%s: %w", d.bind, err)
	}
	return &order.Cert{Key: d.key, Primary: p}, nil
}

// cert is what the key shall certify of itself.
func (d *draft) cert() (order.Action, error) {
	switch {
	case d.key == "" || d.forms() != 1:
		return nil, api.Errorf(api.Usage, "order new cert needs --key, and one of --renew, --revoke and --bind")
	case d.bind != "":
		return d.agree()
	case d.revoke >= 0:
		if d.revoke > 3 {
			return nil, api.Errorf(api.Usage, "--revoke: 0 no reason, 1 superseded, 2 compromised, 3 retired")
		}
		return &order.Cert{Key: d.key, Revoke: true, Code: certificate.Reason(d.revoke)}, nil
	case d.renew == "never":
		return &order.Cert{Key: d.key}, nil
	}
	t, err := time.Parse(time.RFC3339, d.renew)
	if err != nil {
		return nil, api.Errorf(api.Usage, "--renew: %w", err)
	}
	return &order.Cert{Key: d.key, Expires: t.UTC()}, nil
}

func hex32(flag, s string) (h [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(h) {
		return h, api.Errorf(api.Usage, "%s: it is 64 hex digits", flag)
	}
	return [32]byte(b), nil
}
