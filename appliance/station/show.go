package station

import (
	"strings"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/operator"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/keys"
	"touchmark/appliance/station/standing"
	"touchmark/appliance/station/token"
	"touchmark/tpm/ledger"
)

// show redraws the display from the station's state after an event, with a
// line for the operator.
func (s *Station) show(event, text string) {
	s.view.Event, s.view.Message = event, strings.TrimSpace(s.alarm+" "+text)
	s.redraw()
}

// update redraws it after a change that asks nothing of the operator; the line
// shown before stays.
func (s *Station) update() {
	s.view.Event = "update"
	s.redraw()
}

func (s *Station) redraw() {
	s.view.Origin, s.view.Time = s.origin(), s.clock.Now()
	s.view.Emulated = s.past.Trust.Emulated
	s.view.Token, s.view.LogSize = s.token.State(), s.cfg.Store.Size()
	s.view.Host, s.view.Queue = s.hostWord(), len(s.queue)
	now := s.standing()
	s.view.State, s.view.Halt = now.State(), string(now.Halt)
	s.view.Warning = strings.Join(strings.Fields(s.clock.Warning()+" "+keys.Warning(&s.past.Law, s.clock.Now())+" "+s.updates.Warning(s.lacks())+" "+s.platform.Warning()+" "+s.cfg.Notice), " ")
	s.view.Writes, s.view.Days = s.wear.Writes, s.wear.Days
	s.view.Job, s.view.Order, s.view.Ask, s.view.Halted = s.jobView(), s.orderView(), now.Ask(), ""
	if s.halted != nil && s.job == nil {
		s.view.Halted = s.halted.Error()
	}
	s.details()
	s.paint()
}

// standing is how the board stands.
func (s *Station) standing() standing.Board {
	b := standing.Board{
		Confirmed: s.clock.Confirmed(), Starting: s.starting, Silent: s.silent, Stopped: s.stopped,
		NeedsPIN: s.token.State() == token.PIN,
	}
	if s.halted != nil {
		b.Halt = fault.HaltOf(s.halted).Halt
	}
	if s.job != nil {
		b.Job = s.job.ceremony.Machine()
	}
	if d := s.decree; d != nil && d.state == decreeShown {
		b.Order = &standing.Order{Cert: d.Kind == ledger.KindCert, Alone: d.alone}
	}
	return b
}

// paint shows the view as it is.
func (s *Station) paint() {
	s.cfg.Panel.Show(s.view)
	s.cfg.Status(s.view)
}

// origin is the log's; the log key has its name where the log is lost.
func (s *Station) origin() string {
	if o := s.past.Trust.Origin; o != "" {
		return o
	}
	return s.cfg.LogKeys.Origin()
}

// say shows a line to the operator without changing what is on display.
func (s *Station) say(text string) {
	s.show("update", text)
}

// ready tells that the board waits for work, and for the PIN if it needs that
// first.
func (s *Station) ready() {
	text := ""
	if s.token.State() == token.PIN {
		text = askPIN
	}
	s.show("ready", text)
}

func (s *Station) hostWord() string {
	switch {
	case !s.line.Up():
		return "down"
	case s.line.Host() == "":
		return "up"
	}
	return s.line.Host()
}

func (s *Station) jobView() *operator.Job {
	j := s.job
	if j == nil || j.order != nil {
		return nil
	}
	if j.phase() == ceremony.Shown {
		if k, err := keys.For(&s.past.Law, j.grant, s.token.Holds, s.clock.Now()); err == nil {
			j.key = k
		}
	}
	v := &operator.Job{
		ID: j.id.String(), Class: j.grant.Class, Key: j.key.Name, Host: j.request.Host,
		Approvers: append([]string{}, j.request.Persons...), Rate: j.grant.RateText, State: j.phase().String(),
	}
	if j.phase() == ceremony.Touching {
		v.Touch = j.ceremony.Machine().Current() + 1
	}
	for i, it := range j.request.Approval.Items {
		item := operator.Item{Claimed: it.Name, Format: it.Format, Digest: it.Digest.String(), Size: it.Size, Meaning: j.items[i].Meaning}
		if j.results != nil {
			item.Outcome = string(j.results[i].State)
		}
		v.Items = append(v.Items, item)
	}
	return v
}
