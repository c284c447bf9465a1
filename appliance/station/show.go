package station

import (
	"strings"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/operator"
	"touchmark/appliance/station/keys"
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
	s.view.State, s.view.Halt = s.state(), s.haltWord()
	s.view.Warning = strings.Join(strings.Fields(s.clock.Warning()+" "+keys.Warning(&s.past.Law, s.clock.Now())+" "+s.updates.Warning(s.lacks())+" "+s.cfg.Notice), " ")
	s.view.Writes, s.view.Days = s.wear.Writes, s.wear.Days
	s.view.Job, s.view.Order, s.view.Ask, s.view.Halted = s.jobView(), s.orderView(), s.ask(), ""
	if s.halted != nil && s.job == nil {
		s.view.Halted = s.halted.Error()
	}
	s.details()
	s.paint()
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

// ask is what the operator is asked now, most urgent first.
func (s *Station) ask() operator.Ask {
	phase := ceremony.Refused
	if s.job != nil {
		phase = s.job.machine.Phase()
	}
	switch {
	case phase == ceremony.Touching && s.job.machine.Denied():
		return operator.AskNoTouch
	case s.job == nil && s.decree != nil && s.decree.state == decreeShown && !s.stopped:
		if s.decree.Kind == ledger.KindCert && s.token.State() == token.PIN {
			return operator.AskPIN
		}
		if s.decree.alone {
			return operator.AskUnmirrored
		}
		return operator.AskArm
	case s.halted != nil || s.stopped:
		return operator.AskNothing
	case phase == ceremony.Touching:
		return operator.AskTouch
	case !s.clock.Confirmed():
		return operator.AskTime
	case s.token.State() == token.PIN:
		return operator.AskPIN
	case phase == ceremony.Shown:
		return operator.AskArm
	}
	return operator.AskNothing
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
	if j.machine.Phase() == ceremony.Shown {
		if k, err := keys.For(&s.past.Law, j.grant, s.token.Holds, s.clock.Now()); err == nil {
			j.key = k
		}
	}
	v := &operator.Job{
		ID: j.id.String(), Class: j.grant.Class, Key: j.key.Name, Host: j.request.Host,
		Approvers: append([]string{}, j.request.Persons...), Rate: j.grant.RateText, State: j.machine.Phase().String(),
	}
	if j.machine.Phase() == ceremony.Touching {
		v.Touch = j.machine.Current() + 1
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
