package station

import (
	"touchmark/appliance/ceremony"
	"touchmark/appliance/intake"
	"touchmark/appliance/station/challenges"
	"touchmark/appliance/station/decree"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/line"
	"touchmark/appliance/station/rounds"
	"touchmark/hostlink/message"
)

// meetHost makes what serves the host; whoever speaks is a stranger yet.
func (s *Station) meetHost() {
	s.line = line.New(line.Config{Open: s.cfg.Link, Store: s.cfg.Store, Log: s.log, HostLog: s.hostLog, Changed: s.anotherSession, Heard: s.heard})
	s.rounds = rounds.New(rounds.Config{
		Loop: s.loop, Line: s.line, Changed: s.showRounds,
		Open: func(note []byte) (*message.Rounds, string, error) {
			return intake.OpenRounds(s.past.Policy, note, s.clock.Now())
		},
		Refuse: func(err error) { s.refuseFor(message.JobID{}, err) },
	})
	s.challenges = challenges.New(challenges.Config{
		Loop: s.loop, Line: s.line, TPM: s.cfg.TPM, Work: &s.tpm, Chain: s.chain, Store: s.cfg.Store, Log: s.log,
		Settled: s.settled, Refuse: s.refuse,
	})
}

// anotherSession is when one began or ended.
func (s *Station) anotherSession() {
	s.greeting.waiting = nil
	s.rounds.Forget()
	s.update()
}

// showRounds changes what the display says of rounds and leaves all else on it as
// it is, the end of the request before too.
func (s *Station) showRounds() {
	s.view.Event, s.view.Time = "update", s.clock.Now()
	s.details()
	s.paint()
}

// settled reports that HEAD is where the newest checkpoint has it, as far as a
// board that halted can know.
func (s *Station) settled() bool {
	ready := s.halted != nil || s.clock.Confirmed() && !s.starting
	return ready && !s.committing() && (s.job == nil || s.job.phase() == ceremony.Shown)
}

// heard sorts the host's messages. Before a signed hello only a hello is answered.
func (s *Station) heard(raw []byte) {
	m, err := message.Parse(raw)
	if err != nil {
		s.refuse(message.JobID{}, message.CodeOf(err), err.Error())
		return
	}
	if h, ok := m.(*message.HelloNote); ok {
		s.hello(h)
		return
	}
	if s.line.Host() == "" {
		if sub, ok := m.(*message.Submit); ok {
			s.refuse(submittedJob(sub), message.CodeNoHello, "say hello first")
		}
		return
	}
	switch m := m.(type) {
	case *message.Submit:
		s.submit(m)
	case *message.CancelNote:
		s.cancel(m)
	case *message.RoundsNote:
		s.rounds.Announced(m)
	case *message.Mirrored:
		s.mirrored(m)
	case *message.Fetch:
		s.fetch(m)
	case *message.Entries:
		s.offered(m)
	case *message.Order:
		if err := s.orderFromHost(m.Note); err != nil {
			s.refuseFor(decree.Named(m.Note), err)
		}
	case *message.Challenge:
		s.challenges.Take(m.Text)
	default:
		s.refuse(message.JobID{}, message.CodeBadMessage, "this message goes from board to host only")
	}
}

// fetch answers with the entries from an index on.
func (s *Station) fetch(f *message.Fetch) {
	if f.From > s.cfg.Store.Size() {
		s.refuse(message.JobID{}, message.CodeUnknownHead, "this log is not that long")
		return
	}
	s.unlessUnreadable(s.line.Fetched(f.From))
}

// push sends the host the leaves it lacks, once it has said what it has.
func (s *Station) push() { s.unlessUnreadable(s.line.Push()) }

func (s *Station) unlessUnreadable(err error) {
	if err != nil {
		s.halt(fault.Unreadable(err))
	}
}

// hostEvent tells the host how the job on display goes: a hint.
func (s *Station) hostEvent(state string, item, seconds int) {
	if s.job == nil {
		return
	}
	m := message.Event{Job: s.job.id, State: state, Item: item, Seconds: seconds}
	s.line.Send(m.Marshal())
}
