package hostd

import (
	"touchmark/hostlink/hostd/conversation"
	"touchmark/hostlink/message"
)

// hooks tell each room what comes of the conversation with the board.
func (d *Daemon) hooks() conversation.Hooks {
	return conversation.Hooks{
		Over:   func() { d.challenges.Over(); d.orders.Over(); d.rounds.Over() },
		Lost:   func(why string) { d.queue.Lost(why); d.orders.Lost(why) },
		Halted: func() { d.queue.EndHalted(); d.orders.HandOverAll() },
		Met: func() {
			d.publish()
			d.settle()
			d.orders.HandOverAll()
			d.queue.Orphans()
		},
		Grown:     func() { d.queue.TellArmed() },
		Moved:     d.moved,
		Broken:    func(err error) { d.queue.Broken(err) },
		Alarmed:   func() { d.queue.Alarmed() },
		Suspected: func(text string) { d.queue.Suspected(text) },
		Said:      d.said,
	}
}

// settle answers for what the proven log decides.
func (d *Daemon) settle() {
	d.queue.Settle()
	d.orders.Settle()
}

// moved takes that the mirror holds more, or that more of it is proven.
func (d *Daemon) moved(checkpoint bool) {
	d.settle()
	if checkpoint {
		d.queue.ProveArmed()
	}
	if !d.queue.Busy() { // the end of a job publishes
		d.publish()
	}
}

// said takes what the board says of requests.
func (d *Daemon) said(m any) {
	switch m := m.(type) {
	case *message.Event:
		if !d.queue.Event(m) {
			d.orders.Event(m)
		}
	case *message.Refused:
		d.refused(m)
	case *message.Done:
		if d.queue.Has(m.Job) {
			d.board.Expect(m.Outcome + 1)
		}
	case *message.Answer:
		d.challenges.Answer(m)
	case *message.OpenRound:
		d.rounds.Open(m)
	}
}

// refused takes the board's word that it does nothing about something.
func (d *Daemon) refused(m *message.Refused) {
	d.o.Log.Warn().Str("code", m.Code).Str("job", m.Job.String()).Msg(m.Text)
	if d.challenges.Refused(m) {
		return
	}
	d.orders.Refused(m)
	switch {
	case m.Code == message.CodeHalted && d.board.Met():
		defer d.board.HelloAgain() // its answer says so for `touchmark status`, and for the jobs that wait
	case m.Code == message.CodeHalted && !d.board.Halted(): // instead of a welcome
		d.board.Halt(m.Text)
		d.queue.EndHalted()
		return
	case m.Job == message.JobID{} && m.Code == message.CodeForkedHead:
		d.board.Reread() // what this host acknowledged is not what the board has
	case m.Job == message.JobID{} && m.Code == message.CodeClockSkew:
		d.rounds.Skewed()
	}
	d.queue.Refused(m)
}
