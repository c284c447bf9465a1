package watch

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// hook runs a rule's program for a snapshot that was published, until it
// succeeds or a newer one is published.
func (r *Runner) hook(now time.Time, rule string, number uint64) {
	v, cfg := r.seen[rule], r.ruleOf(rule)
	if len(cfg.Hook) == 0 {
		r.state.Hooked(rule, number)
		return
	}
	if r.hooked[rule] || now.Before(v.hookAfter) {
		return
	}
	r.hooked[rule] = true
	env := []string{"TOUCHMARK_RULE=" + rule, "TOUCHMARK_DIR=" + cfg.Files.Into, fmt.Sprint("TOUCHMARK_SNAPSHOT=", number)}
	r.run(cfg.Hook, env, func(err error) {
		delete(r.hooked, rule)
		if err != nil {
			r.log.Error().Err(err).Str("rule", rule).Msg("the hook failed: it will be run again")
			v.hookAfter, v.problem = r.o.Clock().Add(retryHook), "hook: "+err.Error()
			return
		}
		if strings.HasPrefix(v.problem, "hook: ") {
			v.problem = ""
		}
		r.state.Hooked(rule, number)
		r.save()
	})
}

// alarms tells people, once, that something is wrong with a rule, that it is
// something else by now, and that it is over.
func (r *Runner) alarms(now time.Time) {
	for i := range r.rules {
		rule := &r.rules[i]
		v, text := r.seen[rule.Name], ""
		switch p := r.state.Of(rule.Name); {
		case r.unkept != "":
			text = r.unkept
		case p.Overdue(now, rule):
			text = fmt.Sprintf("what changed has waited for its signature since %s%s", p.Waiting().Format(time.RFC3339), because(p.Why))
		case v.problem != "":
			text = v.problem
		}
		v.alarm = text
		if text != v.told && (text == "" || v.told == "" || now.Sub(v.toldAt) >= retell) {
			v.told, v.toldAt = text, now
			r.raise(rule.Name, text)
		}
	}
}

func because(why string) string {
	if why == "" {
		return ""
	}
	return ": " + why
}

func (r *Runner) raise(rule, text string) {
	if text == "" {
		r.log.Info().Str("rule", rule).Msg("the alarm is over")
	} else {
		r.log.Error().Str("rule", rule).Str("alarm", text).Msg("alarm")
	}
	if argv := r.ruleOf(rule).Alarm; len(argv) > 0 {
		r.run(argv, []string{"TOUCHMARK_RULE=" + rule, "TOUCHMARK_ALARM=" + text}, func(err error) {
			if err != nil {
				r.log.Error().Err(err).Str("rule", rule).Msg("the alarm program failed")
			}
		})
	}
}

// run starts a program of the administrator's; end is called by Run. It is
// ended, with its children, when it takes too long or the daemon stops.
func (r *Runner) run(argv, env []string, end func(error)) {
	r.wg.Go(func() {
		ctx, cancel := context.WithTimeout(r.ctx, hookLimit)
		defer cancel()
		err := program(ctx, argv, env, hookGrace)
		r.post(func() { end(err) })
	})
}
