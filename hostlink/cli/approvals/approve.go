package approvals

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"touchmark/appliance/sigformat"
	"touchmark/hostlink/approve"
	"touchmark/hostlink/approve/pacman"
	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/hashing"
	"touchmark/hostlink/cli/key"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/message"
)

type approveFlags struct {
	key, class, origin, out string
	pool                    string
	allowEmpty              bool
}

// ApproveCommand is "touchmark approve".
func ApproveCommand(a *cli.App) *cobra.Command {
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
				return api.Errorf(api.Usage, "approve needs --key and --class")
			case len(args) < 2:
				return api.Errorf(api.Usage, "name the request and your own copies of its files: %s", c.CommandPath())
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt, syscall.SIGTERM) // what was made for --pool is removed
			defer stop()
			return approveFiles(ctx, a, args[0], args[1:], &f)
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

func approveFiles(ctx context.Context, a *cli.App, path string, files []string, f *approveFlags) error {
	s, _, err := key.Read(f.key)
	if err != nil {
		return err
	}
	r, err := readRequest(a, path, f)
	if err != nil {
		return err
	}
	own, err := copies(files, f.allowEmpty)
	if err != nil {
		return err
	}
	if err := r.Compare(own); err != nil {
		if errors.Is(err, approve.ErrDiffers) {
			return api.Errorf(api.Evidence, "%s: %w", path, err)
		}
		return api.Errorf(api.CodeOf(err, api.BadInput), "%s: %w", path, err)
	}
	if f.pool != "" {
		if err := heldAgainst(ctx, f.pool, files); err != nil {
			return err
		}
	}
	n, err := message.CosignNote(r.Note, s)
	if err != nil {
		return api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	out := f.out
	if out == "" {
		out = path + "." + strings.ReplaceAll(s.Name(), "/", "_")
	}
	if err := output.Write(out, n, 0o644); err != nil {
		return err
	}
	return approved(a, r, out)
}

// readRequest reads a request and checks that it is what the approver means.
func readRequest(a *cli.App, path string, f *approveFlags) (*approve.Request, error) {
	origin := f.origin
	if origin == "" {
		t, err := a.LoadTrust()
		if err != nil {
			return nil, api.Errorf(api.BadInput, "%w, or name the log with --origin", err)
		}
		origin = t.Origin
	}
	b, err := api.ReadSmall(path, message.MaxNote)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "request: %w", err)
	}
	r, err := approve.Read(b)
	if err != nil {
		return nil, api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	if err := r.Check(approve.Meant{Origin: origin, Class: f.class, Now: time.Now()}); err != nil {
		return nil, api.Errorf(api.Refused, "%s: %w; nothing was approved", path, err)
	}
	return r, nil
}

// copies are the approver's own files by their names, hashed when they are asked
// for.
func copies(paths []string, allowEmpty bool) (map[string]approve.Own, error) {
	if _, err := hashing.Check(paths, sigformat.OpenPGPBinary, allowEmpty); err != nil {
		return nil, err
	}
	own := map[string]approve.Own{}
	for _, p := range paths {
		if _, twice := own[filepath.Base(p)]; twice {
			return nil, api.Errorf(api.Usage, "two files are called %s: name one", filepath.Base(p))
		}
		own[filepath.Base(p)] = func(it message.Item) (message.Digest, uint64, error) {
			format, known := sigformat.FormatOf(it.Format)
			if !known {
				return message.Digest{}, 0, api.Errorf(api.BadInput, "%s is to be signed as %s, which this program does not know", it.Name, it.Format)
			}
			h, err := hashing.Hash(p, format, it.Digest.Alg, new(atomic.Int64))
			if err != nil {
				return message.Digest{}, 0, err
			}
			return h.Digest(), h.State.Count(), nil
		}
	}
	return own, nil
}

// heldAgainst compares pacman databases with the approver's own packages.
func heldAgainst(ctx context.Context, pool string, files []string) error {
	own, err := pacman.Rebuild(ctx, pool)
	if err != nil {
		return api.Errorf(api.BadInput, "--pool: %w", err)
	}
	for _, path := range files {
		if err = own.Compare(ctx, path); err != nil {
			break
		}
	}
	switch err := errors.Join(err, own.Close()); {
	case errors.Is(err, pacman.ErrDiffers):
		return api.Errorf(api.Evidence, "%w. DO NOT APPROVE: find out which is right", err)
	case err != nil:
		return api.Errorf(api.BadInput, "--pool: %w", err)
	}
	return nil
}

func approved(a *cli.App, r *approve.Request, out string) error {
	if a.JSON {
		names := []string{}
		for _, it := range r.Approval.Items {
			names = append(names, it.Name)
		}
		a.Object(map[string]any{"ok": true, "job": r.Job.String(), "class": r.Approval.Class, "names": slices.Clone(names), "approval": out})
		return nil
	}
	for _, l := range r.Lines() {
		a.Println(l)
	}
	a.Println("approved: " + out)
	return nil
}
