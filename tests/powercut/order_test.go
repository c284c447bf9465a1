package powercut

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"touchmark/appliance/operator"
	"touchmark/tests/world"
)

// enrols holds the key ceremony.
func (r *run) enrols() (string, error) {
	err := r.Enrol(r.ctx)
	switch {
	case r.ctx.Err() != nil:
		return "", fmt.Errorf("it hangs: %w", err)
	case err != nil:
		return err.Error(), nil
	}
	return "exit code 0", nil
}

// enrolled finishes a ceremony that was cut short by the same command, or finds
// it finished, and wants the board to work.
func (r *run) enrolled() error {
	if err := r.Enrol(r.ctx); err != nil && !strings.Contains(err.Error(), "already enrolled") {
		return fmt.Errorf("the same command again: %w", err)
	}
	return r.recovered()
}

// bringing brings orders to a board, one after the other.
func bringing(kinds ...string) func(*run) (string, error) {
	return func(r *run) (string, error) {
		said, err := r.rises()
		for i := 0; i < len(kinds) && said == "" && err == nil; i++ {
			said, err = r.bring(kinds[i])
		}
		if said == "" {
			said = r.state("exit code 0")
		}
		return said, err
	}
}

// bring has an order armed and waits for its end; it answers what else came.
func (r *run) bring(kind string) (said string, err error) {
	mark, before := r.Views().Mark(), r.state("")
	ctx, leave := r.attended()
	defer leave()
	res, err := r.Run(ctx, r.work, "touchmark", "order", "submit", r.note(kind))
	switch {
	case ctx.Err() != nil:
	case err != nil:
		return "", err
	case res.Code != 0:
		return r.state("") + "\n" + res.Stderr, nil // what was wrong with the board before may be why
	case strings.Contains(res.Stdout, "in force"): // since before
		return "", nil
	default:
		var v operator.View
		v, _, err = r.Views().Wait(ctx, mark, func(v operator.View) bool {
			return v.Event == "order-done" || v.Event == "order-dropped" || v.Halted != before && v.Halted != "" && v.Order == nil
		})
		switch {
		case err == nil && v.Event == "order-dropped":
			return v.Message, nil
		case err == nil && v.Halted != before:
			return v.Halted, nil
		case err == nil:
			return "", nil
		}
	}
	if r.ctx.Err() != nil {
		return "", fmt.Errorf("the order hangs: %w", err)
	}
	if said = r.state(""); said == before { // it has ended, or the daemon has; once it has its log is complete
		r.Appliance().Stop()
		said = r.state(r.Appliance().LogTail())
	}
	return said, nil
}

// obeying wants orders to have been obeyed, or to be obeyed now.
func obeying(kinds ...string) func(*run) error {
	return func(r *run) error {
		if err := r.restarted(); err != nil {
			return err
		}
		if err := r.ordered(kinds...); err != nil {
			return err
		}
		return r.works()
	}
}

// ordered brings orders that must be obeyed, or have been.
func (r *run) ordered(kinds ...string) error {
	for _, kind := range kinds {
		if said, err := r.bring(kind); err != nil || said != "" {
			return fmt.Errorf("after the fault: the order %s: %s, %w", kind, said, err)
		}
	}
	return nil
}

// writeKey has the board make its next log key and writes the order that brings it in.
func (r *run) writeKey() error {
	keys, err := r.logKey("new")
	if err != nil {
		return err
	}
	return r.writeOrder("key", "--log-key", keys.Next)
}

// logKeys are the verifier keys that the board prints.
type logKeys struct{ Present, Next string }

func (r *run) logKey(word string) (k logKeys, err error) {
	text, err := r.must("touchmark-appliance-emulated", "log-key", word, "--dir", r.Board, "--json")
	if err == nil {
		err = json.Unmarshal([]byte(text), &k)
	}
	return k, err
}

// rekeyed wants the board's next log key to be the one in force, or to come into force now, and host and auditor to take
// it.
func (r *run) rekeyed() error {
	if err := r.restarted(); err != nil {
		return err
	}
	if err := r.ordered("key"); err != nil {
		return err
	}
	keys, err := r.logKey("show")
	if err == nil && keys.Next != "" {
		err = fmt.Errorf("after the order there are two log keys: %+v", keys)
	}
	next := filepath.Join(r.work, "trust.next")
	if err == nil {
		_, err = r.must("touchmark-audit", "trust", "next", "--trust", r.Trust, "--log-key", keys.Present, "--key", r.Key("admin1"), "--out", next)
	}
	if err == nil {
		err = os.Rename(next, filepath.Join(r.Trust, "trust"))
	}
	if err != nil {
		return err
	}
	return r.works()
}

// closedText begins what the display of a closed log says.
const closedText = "log-closed"

// closed wants the log to have been ended, or to be ended now.
func (r *run) closed() error {
	err := r.StartAppliance(r.ctx)
	var halted *world.HaltedError
	if err == nil {
		if err = r.StartHostd(r.ctx); err == nil {
			var said string
			if said, err = r.bring("close"); err == nil && said != "" {
				err = &world.HaltedError{Why: said}
			}
		}
	}
	if !errors.As(err, &halted) || !strings.HasPrefix(halted.Why, closedText) {
		return fmt.Errorf("after the fault: it is not closed: %w", err)
	}
	if r.Hostd() == nil {
		if err := r.LaunchHostd(r.ctx, "repo1"); err != nil {
			return err
		}
		if err := r.Hostd().AwaitLog(r.ctx, 0, "log verified"); err != nil {
			return err
		}
	}
	if err := r.publish(); err != nil {
		return err
	}
	return r.judged()
}

// meets starts a board that halts because its log is behind HEAD, and a host.
func (r *run) meets() (said string, err error) {
	if why, err := r.halts(); err != nil {
		return r.spoken(err, r.Appliance())
	} else if !strings.Contains(why, "head-") {
		return why, nil
	}
	if err := r.LaunchHostd(r.ctx, "repo1"); err != nil {
		return "", err
	}
	return "", nil
}

// heals is a start that takes the end of the log from the host's mirror.
func (r *run) heals() (said string, err error) {
	if said, err := r.meets(); said != "" || err != nil {
		return said, err
	}
	return r.settles(0)
}

// settles waits until a board that had halted is ready, or halts for another
// reason, or ends.
func (r *run) settles(mark int) (said string, err error) {
	v, mark, err := r.Views().Wait(r.ctx, mark, func(v operator.View) bool {
		return v.Event == "ready" || v.Halted != "" && !strings.Contains(v.Halted, "head-")
	})
	if err != nil {
		return r.spoken(err, r.Appliance())
	}
	if v.Event != "ready" {
		return v.Halted, nil
	}
	if err := r.Unlock(r.ctx, mark-1, world.PIN); err != nil {
		return r.spoken(err, r.Appliance())
	}
	return r.state("exit code 0"), nil
}

// healed wants a board that is behind to be made whole by its host.
func (r *run) healed() error {
	said, err := "", r.StartAppliance(r.ctx)
	var halted *world.HaltedError
	switch {
	case err == nil:
		err = r.StartHostd(r.ctx)
	case errors.As(err, &halted) && strings.Contains(halted.Why, "head-"):
		if err = r.LaunchHostd(r.ctx, "repo1"); err == nil {
			said, err = r.settles(0)
		}
		if err == nil && said == "exit code 0" {
			said, err = "", r.Hostd().AwaitLog(r.ctx, 0, "log verified")
		}
	}
	if err != nil || said != "" {
		return fmt.Errorf("after the fault: %s, %w", said, err)
	}
	return r.works()
}

// resumes is a resume by the administrators.
func (r *run) resumes() (said string, err error) {
	if said, err := r.meets(); said != "" || err != nil {
		return said, err
	}
	ctx, leave := r.attended()
	err = r.Hostd().AwaitLog(ctx, 0, "the appliance has halted")
	leave()
	if err != nil {
		return r.spoken(err, r.Appliance())
	}
	mark := r.Views().Mark()
	if said, err := r.bring("resume"); said != "" || err != nil {
		return said, err
	}
	return r.settles(mark)
}

// resumed wants a board that lost the end of its log for ever to go on.
func (r *run) resumed() error {
	err := r.StartAppliance(r.ctx)
	var halted *world.HaltedError
	if errors.As(err, &halted) && strings.Contains(halted.Why, "head-") {
		r.StopAppliance()
		var said string
		if said, err = r.resumes(); err == nil && said != "exit code 0" {
			err = errors.New(said)
		}
	} else if err == nil {
		err = r.LaunchHostd(r.ctx, "repo1")
	}
	if err == nil {
		err = r.Hostd().AwaitLog(r.ctx, 0, "log verified")
	}
	if err != nil {
		return fmt.Errorf("after the fault: %w", err)
	}
	return r.works()
}
