package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/approve"
	"touchmark/hostlink/approve/pacman"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledgerstore/durable"
)

type approveFlags struct {
	key, class, origin, out string
	pool                    string
	allowEmpty              bool
}

func (a *app) approveCmd() *cobra.Command {
	var f approveFlags
	c := &cobra.Command{
		Use:   "approve --key KEY --class CLASS REQUEST FILE...",
		Short: "Approve a request, on another machine than the host's, with your own copies of its files",
		Long: `Hash your own copies of the files that a host wants signed, and sign the request
(touchmark approvals request) if they are the same, byte for byte. FILEs are
found in the request by their base names; every file of the request must be
there. The result, REQUEST.KEYNAME, goes back to the host (touchmark approvals
add); it may travel over any path, and no one on it can change it.

Get the copies from where you trust them: your own build, the upstream's mirror.
A copy that came from the host proves nothing, but for pacman databases: with
--pool DIR they are held against those that repo-add makes of the packages in DIR,
of each name the newest version; names, versions, sums, dependencies and all else
must be the same (only the signatures of packages, which pacman checks itself, and
MD5 sums are left aside). --class says what you mean to
approve, --origin for which log (default: that of the trust directory): a host
that asks under another class or for another log is refused here.

Nothing here talks to a daemon or an appliance.`,
		Example: "  touchmark approve --key alice.key --class iso iso.request ~/build/archlinux-2026.11.01-x86_64.iso\n" +
			"  touchmark approve --key alice.key --class pacman-db --pool ~/packages db.request core.db.tar.gz core.files.tar.gz",
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case f.key == "" || f.class == "":
				return exitf(api.Usage, "approve needs --key and --class")
			case len(args) < 2:
				return exitf(api.Usage, "name the request and your own copies of its files: %s", c.CommandPath())
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM) // what was made for --pool is removed
			defer stop()
			return a.approve(ctx, args[0], args[1:], &f)
		},
	}
	fl := c.Flags()
	fl.StringVar(&f.key, "key", "", "your private key")
	fl.StringVar(&f.class, "class", "", "the policy class under which you approve")
	fl.StringVar(&f.origin, "origin", "", "the log (default: that of --trust)")
	fl.StringVar(&f.pool, "pool", "", "the files are pacman databases: hold them against your own packages in this folder")
	fl.StringVar(&f.out, "out", "", "where to write the approval (default: REQUEST.KEYNAME)")
	fl.BoolVar(&f.allowEmpty, "allow-empty", false, "approve files of 0 bytes too")
	return c
}

func (a *app) approve(ctx context.Context, path string, files []string, f *approveFlags) error {
	s, _, err := readKey(f.key)
	if err != nil {
		return err
	}
	r, err := a.readRequest(path, f)
	if err != nil {
		return err
	}
	own, err := copies(files, f.allowEmpty)
	if err != nil {
		return err
	}
	if err := r.Compare(own); err != nil {
		if errors.Is(err, approve.ErrDiffers) {
			return exitf(api.Evidence, "%s: %w", path, err)
		}
		return exitf(api.CodeOf(err, api.BadInput), "%s: %w", path, err)
	}
	if f.pool != "" {
		if err := heldAgainst(ctx, f.pool, files); err != nil {
			return err
		}
	}
	n, err := message.CosignNote(r.Note, s)
	if err != nil {
		return exitf(api.BadInput, "%s: %w", path, err)
	}
	out := f.out
	if out == "" {
		out = path + "." + strings.ReplaceAll(s.Name(), "/", "_")
	}
	if err := durable.WriteFile(out, n, 0o644); err != nil {
		return exitf(api.CannotWrite, "%s: %w", out, plainWrite(err))
	}
	return a.approved(r, out)
}

// readRequest reads a request and checks that it is what the approver means.
func (a *app) readRequest(path string, f *approveFlags) (*approve.Request, error) {
	origin := f.origin
	if origin == "" {
		t, err := a.loadTrust()
		if err != nil {
			return nil, exitf(api.BadInput, "%w, or name the log with --origin", err)
		}
		origin = t.Origin
	}
	b, err := api.ReadSmall(path, message.MaxNote)
	if err != nil {
		return nil, exitf(api.BadInput, "request: %w", err)
	}
	r, err := approve.Read(b)
	if err != nil {
		return nil, exitf(api.BadInput, "%s: %w", path, err)
	}
	if err := r.Check(approve.Meant{Origin: origin, Class: f.class, Now: time.Now()}); err != nil {
		return nil, exitf(api.Refused, "%s: %w; nothing was approved", path, err)
	}
	return r, nil
}

// copies are the approver's own files by their names, hashed when they are asked
// for.
func copies(paths []string, allowEmpty bool) (map[string]approve.Own, error) {
	if _, err := checkInputs(paths, sigformat.OpenPGPBinary, allowEmpty); err != nil {
		return nil, err
	}
	own := map[string]approve.Own{}
	for _, p := range paths {
		if _, twice := own[base(p)]; twice {
			return nil, exitf(api.Usage, "two files are called %s: name one", base(p))
		}
		own[base(p)] = func(it message.Item) (message.Digest, uint64, error) {
			format, known := sigformat.FormatOf(it.Format)
			if !known {
				return message.Digest{}, 0, exitf(api.BadInput, "%s is to be signed as %s, which this program does not know", it.Name, it.Format)
			}
			h, err := hashFile(p, format, it.Digest.Alg, new(atomic.Int64))
			if err != nil {
				return message.Digest{}, 0, err
			}
			return h.digest(), h.state.Count(), nil
		}
	}
	return own, nil
}

// heldAgainst compares pacman databases with the approver's own packages.
func heldAgainst(ctx context.Context, pool string, files []string) error {
	own, err := pacman.Rebuild(ctx, pool)
	if err != nil {
		return exitf(api.BadInput, "--pool: %w", err)
	}
	for _, path := range files {
		if err = own.Compare(ctx, path); err != nil {
			break
		}
	}
	switch err := errors.Join(err, own.Close()); {
	case errors.Is(err, pacman.ErrDiffers):
		return exitf(api.Evidence, "%w. DO NOT APPROVE: find out which is right", err)
	case err != nil:
		return exitf(api.BadInput, "--pool: %w", err)
	}
	return nil
}

func (a *app) approved(r *approve.Request, out string) error {
	if a.json {
		names := []string{}
		for _, it := range r.Approval.Items {
			names = append(names, it.Name)
		}
		a.object(map[string]any{"ok": true, "job": r.Job.String(), "class": r.Approval.Class, "names": slices.Clone(names), "approval": out})
		return nil
	}
	for _, l := range r.Lines() {
		a.println(l)
	}
	a.println("approved: " + out)
	return nil
}
