package world

import (
	"context"

	"touchmark/appliance/operator"
)

// Decide has somebody at the panel say something about each job that the board asks him to arm, once for each time that it
// is shown. It returns nil when ctx ends, and else what say returned or how the board ended.
func (w *World) Decide(ctx context.Context, say func(*operator.Job) error) error {
	last, views := "", w.Views()
	for mark := views.Mark(); ; {
		v, next, err := views.Wait(ctx, mark, func(operator.View) bool { return true })
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case v.Ask != operator.AskArm:
			last = "" // a job that was withdrawn may be shown again
		case v.Job.ID != last:
			last = v.Job.ID
			if err := say(v.Job); err != nil {
				return err
			}
		}
		mark = next
	}
}

// Arm is for Decide: somebody who arms everything.
func (w *World) Arm(job *operator.Job) error { return w.Operator("arm " + job.ID) }
