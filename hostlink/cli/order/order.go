// Package order is "touchmark order": what administrators order the appliance is
// written as a text, signed by a quorum of them as a note, and handed over. What orders
// there are, and their form, is in tpm/ledger/order.
package order

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"touchmark/hostlink/cli"
	"touchmark/hostlink/cli/key"
	"touchmark/hostlink/cli/output"
	"touchmark/hostlink/cli/progress"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// Command is "touchmark order" with what is below it.
func Command(a *cli.App) *cobra.Command {
	c := &cobra.Command{
		Use:   "order",
		Short: "What administrators order the appliance: write it, sign it, hand it over",
		Long: `Administrators order the appliance to set its clock, to leave a halt state, to
note something in the log, to replace its log key, to sign with a further token's
key too, to renew or revoke the certificate of a signing key, to start another image
of its operating system, or to end the log. An order names the state of the
log that they know: the published checkpoint. A quorum of them signs it. A new
policy (touchmark policy sign) is handed over in the same way.`,
		Example: `  touchmark order new note --checkpoint log/checkpoint --reason "moved to rack 7" --out move.order
  touchmark order sign --key admin1.key move.order
  touchmark order submit move.note`,
	}
	var key, out string
	var wait bool
	sign := &cobra.Command{
		Use:     "sign --key KEY [--out NOTE] FILE",
		Short:   "Sign an order as an administrator; adds to the signatures of a note",
		Example: "  touchmark order sign --key admin1.key move.order\n  touchmark order sign --key admin2.key move.note",
		Args:    cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if key == "" {
				return api.Errorf(api.Usage, "order sign needs --key")
			}
			return signOrder(a, args[0], key, out)
		},
	}
	sign.Flags().StringVar(&key, "key", "", "administrator's private key")
	sign.Flags().StringVar(&out, "out", "", "where to write the note (default: FILE with .note)")
	submit := &cobra.Command{
		Use:   "submit [--wait] NOTE",
		Short: "Hand a signed order or policy to the appliance, where the operator decides about it",
		Long: `Hands a signed order or policy to the appliance. Success means that the appliance
took it and shows it to its operator; with --wait, that it is in force: the operator
armed it, and the verified log has it. What the appliance refuses, or the operator
denies, is an error.`,
		Example: "  touchmark order submit move.note\n  touchmark order submit --wait move.note",
		Args:    cobra.ExactArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return submitOrder(a, args[0], wait) },
	}
	submit.Flags().BoolVar(&wait, "wait", false, "wait until the order is in force, or refused")
	c.AddCommand(newCommand(a), sign, submit)
	return c
}

func signOrder(a *cli.App, path, keyPath, out string) error {
	b, err := api.ReadSmall(path, ledger.MaxOrder)
	if err != nil {
		return api.Errorf(api.BadInput, "order: %w", err)
	}
	s, _, err := key.Read(keyPath)
	if err != nil {
		return err
	}
	n, err := order.Sign(b, s)
	if err != nil {
		return api.Errorf(api.BadInput, "%s: %w", path, err)
	}
	if out == "" {
		out = strings.TrimSuffix(strings.TrimSuffix(path, ".order"), ".note") + ".note"
	}
	if err := output.Write(out, n, 0o644); err != nil {
		return err
	}
	a.Made(out)
	return nil
}

func submitOrder(a *cli.App, path string, wait bool) error {
	n, err := api.ReadSmall(path, message.MaxOrderNote)
	if err != nil {
		return api.Errorf(api.BadInput, "order: %w", err)
	}
	if _, err := message.NoteText(n); err != nil {
		return api.Errorf(api.BadInput, "%s: %w: sign it first", path, err)
	}
	r, err := followOrder(a, &api.Request{Op: api.OpOrder, Note: n, Decision: wait})
	if err != nil {
		return err
	}
	if r.Order == nil {
		return api.Errorf(api.Internal, "touchmark-hostd did not say what became of the order")
	}
	switch force := r.Order.State == api.OrderInForce; {
	case a.JSON:
		a.Object(map[string]any{"ok": true, "state": r.Order.State, "entry": r.Order.Entry})
	case force:
		fmt.Fprintf(a.Out, "in force: entry %d of the log\n", r.Order.Entry)
	default:
		fmt.Fprintf(a.Out, "the appliance has it (%s): its operator decides\n", r.Order.State)
	}
	return nil
}

// followOrder waits for what becomes of an order, over restarts of the daemon:
// handed over again it is the same order. Ctrl-C ends the waiting; only the
// operator can drop what the appliance has.
func followOrder(a *cli.App, req *api.Request) (*api.Response, error) {
	p := progress.New(a.Errs, a.JSON)
	s, err := a.DaemonFor(p.Tell).Open()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGINT, syscall.SIGTERM)
	defer signal.Stop(stop)
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-stop:
			s.Leave()
		case <-over:
		}
	}()
	s.Event = func(e *api.Event) { p.Event(e, 1) }
	s.Lost = func(error) { p.Tell("touchmark-hostd went away: waiting for it to come back") }
	s.Return = time.Minute // a daemon that is restarted is back by then
	r, err := s.Wait(req)
	p.Clear()
	switch {
	case err != nil && s.Left():
		return nil, api.Errorf(api.Interrupted, "interrupted: the appliance may have the order on its display still, where its operator can deny it")
	case err != nil:
		return nil, err
	}
	return r, client.Said(r)
}
