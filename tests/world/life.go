package world

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"filippo.io/age"

	"touchmark/appliance/operator"
)

// Limits on waiting, each many times what a loaded two-core machine needs: to run into one is a failure, not a pace.
const (
	enrolLimit = 3 * time.Minute
	readyLimit = 2 * time.Minute
)

// Enrol holds the key ceremony: host and administrator make their keys, the policy is signed, and the appliance binds
// token, TPM and policy. The operator types the PIN and touches once.
func (w *World) Enrol(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, enrolLimit)
	defer cancel()
	args, err := w.enrolment(ctx)
	if err != nil {
		return err
	}
	return w.Ceremony(ctx, args...)
}

// Ceremony has the appliance run a command that asks its operator, as enroll does, attended to its end.
func (w *World) Ceremony(ctx context.Context, args ...string) error {
	b, err := w.startBoard(args[0], args...)
	if err != nil {
		return err
	}
	defer b.in.Close()
	go w.attendEnrolment(ctx, b)
	select {
	case <-b.Done():
	case <-ctx.Done():
		b.Kill()
	}
	if err := b.Err(); err != nil {
		return fmt.Errorf("enrolment: %w\n%s", err, b.LogTail())
	}
	return nil
}

// enrolment makes what the ceremony starts from, and answers the appliance's arguments.
func (w *World) enrolment(ctx context.Context) ([]string, error) {
	policy, err := w.signPolicy(ctx)
	if err != nil {
		return nil, err
	}
	recipient, err := w.Recipient()
	args := []string{"enroll", "--dir", w.Board, "--policy", policy, "--uid", UserID, "--trust-out", w.Trust,
		"--transcript", w.Transcript(), "--hierarchy-auth-out", w.Admins, "--backup-recipient", recipient, "--throwaway"}
	return append(args, w.Enrolment...), err
}

// Recipient is the administrator who keeps what the ceremony encrypts; the identity is made once.
func (w *World) Recipient() (string, error) {
	raw, err := os.ReadFile(w.Identity())
	if err == nil {
		id, err := age.ParseX25519Identity(strings.TrimSpace(string(raw)))
		if err != nil {
			return "", err
		}
		return id.Recipient().String(), nil
	}
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return "", err
	}
	return id.Recipient().String(), os.WriteFile(w.Identity(), []byte(id.String()+"\n"), 0o600)
}

// EnrolCommands makes command lines that each hold the key ceremony, or what is left of it; somebody else types the PIN
// ("pin DIGITS", on stdin) and touches.
func (w *World) EnrolCommands(ctx context.Context) (func() *exec.Cmd, error) {
	args, err := w.enrolment(ctx)
	args = append(args, "--token-socket", w.TokenSocket(), "--tpm", w.TPM.Spec(), "--operator", "lines")
	return func() *exec.Cmd { return w.Command(ctx, w.Dir, "touchmark-appliance-emulated", args...) }, err
}

// attendEnrolment does what the ceremony asks of the operator until it ends; what goes wrong shows in its exit code.
func (w *World) attendEnrolment(ctx context.Context, b *board) {
	asks := func(v operator.View) bool { return v.Ask == operator.AskPIN || v.Ask == operator.AskTouch }
	for mark := 0; ; {
		v, next, err := b.views.Wait(ctx, mark, asks)
		if err != nil {
			return
		}
		mark = next
		if v.Ask == operator.AskPIN {
			_, err = fmt.Fprintln(b.in, "pin "+w.Secret(v))
		} else if w.Touch == "ask" {
			err = w.touched(v).Touch(ctx)
		}
		if err != nil {
			b.Kill()
			return
		}
	}
}

// touched is the token that the ceremony asks to be touched.
func (w *World) touched(v operator.View) *Token {
	if w.Two && strings.Contains(v.Message, strconv.Itoa(SpareSerial)) {
		return w.Spare
	}
	return w.Token
}

// signPolicy makes the keys of host and administrator and the policy note that names them, all with touchmark itself. A
// key that is there already is kept.
func (w *World) signPolicy(ctx context.Context) (note string, err error) {
	verifiers := map[string]string{}
	for _, name := range []string{"admin1", "repo1"} {
		if verifiers[name], err = w.newKey(ctx, name); err != nil {
			return "", err
		}
	}
	text := filepath.Join(w.Host, "policy.toml")
	if err := os.WriteFile(text, []byte(w.policyFor(verifiers["admin1"], verifiers["repo1"])), 0o644); err != nil {
		return "", err
	}
	note = filepath.Join(w.Host, "policy.note")
	_, err = w.must(ctx, "touchmark", "policy", "sign", "--key", w.Key("admin1"), "--out", note, text)
	return note, err
}

// Key is the path of a signing key made by touchmark key new.
func (w *World) Key(name string) string { return filepath.Join(w.Host, name+".key") }

// newKey makes a key, and writes its verifier beside it, or reads that of the one that is there.
func (w *World) newKey(ctx context.Context, name string) (verifier string, err error) {
	beside := w.Key(name) + ".pub"
	if text, err := os.ReadFile(beside); err == nil {
		return string(text), nil
	}
	out, err := w.must(ctx, "touchmark", "key", "new", "--name", name, "--out", w.Key(name))
	verifier = strings.TrimSpace(out)
	if err == nil {
		err = os.WriteFile(beside, []byte(verifier), 0o644)
	}
	return verifier, err
}

// StartAppliance starts the board and waits until it is ready to sign: time confirmed, PIN typed.
func (w *World) StartAppliance(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := w.LaunchAppliance(); err != nil {
		return err
	}
	return w.Unlock(ctx, 0, PIN)
}

// LaunchAppliance starts the board and waits for nothing.
func (w *World) LaunchAppliance() error {
	return w.RunAppliance("run", "--dir", w.Board, "--device", w.Cable.BoardPath(), "--baud", strconv.Itoa(w.Baud))
}

// RunAppliance starts the board with these arguments and waits for nothing.
func (w *World) RunAppliance(args ...string) (err error) {
	w.board, err = w.startBoard("appliance", args...)
	return err
}

// Unlock answers what the board asks at start and after a re-insertion — is the time right, what is the PIN — from mark
// on, until the token is ready or the board has halted.
func (w *World) Unlock(ctx context.Context, mark int, pin string) error {
	typed := false
	for {
		v, next, err := w.board.await(ctx, mark, func(v operator.View) bool {
			return v.Halted != "" || v.Ask == operator.AskTime || v.Ask == operator.AskPIN && !typed || v.Event == "pin-wrong" && typed || v.Token == "ready" && v.Ask != operator.AskTime
		})
		mark = next
		switch {
		case err != nil:
			return err
		case v.Halted != "":
			return &HaltedError{v.Halted}
		case v.Event == "pin-wrong" && typed:
			return fmt.Errorf("PIN refused: %s", v.Message)
		case v.Ask == operator.AskTime:
			err = w.Operator("time yes")
		case v.Ask == operator.AskPIN:
			typed = true
			err = w.Operator("pin " + pin)
		default:
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// HaltedError says that the board refuses to go on, and why.
type HaltedError struct{ Why string }

func (e *HaltedError) Error() string { return "the appliance has halted: " + e.Why }

// StopAppliance ends the board in good order; KillAppliance as a power cut would, but for the TPM, which keeps its power.
func (w *World) StopAppliance() { w.endAppliance((*Process).Stop) }

// KillAppliance ends core and link at once.
func (w *World) KillAppliance() { w.endAppliance((*Process).Kill) }

func (w *World) endAppliance(end func(*Process)) {
	if w.board == nil {
		return
	}
	end(w.board.Process)
	_ = w.board.in.Close()
	w.board = nil
}

// hostdConfig is the daemon's configuration: device, baud, directory of its state, and the shared paths.
const hostdConfig = `device = "%s"
baud = %d
state = "%s"
publish = "%s"
trust = "%s"
key = "%s"
socket = "%s"
`

// StartHostd starts the daemon and waits until it has verified the board's log.
func (w *World) StartHostd(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyLimit)
	defer cancel()
	if err := w.LaunchHostd(ctx, "repo1"); err != nil {
		return err
	}
	err := w.hostd.AwaitLog(ctx, 0, "log verified")
	if err != nil {
		err = fmt.Errorf("%w\n%s", err, w.hostd.LogTail())
	}
	return err
}

// LaunchHostd starts the daemon with the key of that name and waits until it serves its socket, whatever its line is like.
func (w *World) LaunchHostd(ctx context.Context, key string) error {
	config := filepath.Join(w.Host, "hostd.toml")
	text := fmt.Sprintf(hostdConfig, w.Cable.HostPath(), w.Baud, filepath.Join(w.Host, "mirror"), w.Mirror, w.Trust, w.Key(key), w.Socket) + w.HostTOML
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	return w.RunHostd(ctx, config)
}

// RunHostd starts the daemon with this configuration and waits until it serves its socket.
func (w *World) RunHostd(ctx context.Context, config string) error {
	p, err := startReady(ctx, w.Logs, "hostd", w.wrapped("hostd", []string{w.bin("touchmark-hostd"), "--config", config}))
	w.hostd = p
	return err
}

// Hostd is the running daemon, for its log and its memory; nil when none runs.
func (w *World) Hostd() *Process { return w.hostd }

// Appliance is the running board; nil when none runs.
func (w *World) Appliance() *Process {
	if w.board == nil {
		return nil
	}
	return w.board.Process
}

// StopHostd ends the daemon in good order.
func (w *World) StopHostd() { w.endHostd((*Process).Stop) }

// KillHostd ends it at once.
func (w *World) KillHostd() { w.endHostd((*Process).Kill) }

func (w *World) endHostd(end func(*Process)) {
	if w.hostd == nil {
		return
	}
	end(w.hostd)
	w.hostd = nil
}
