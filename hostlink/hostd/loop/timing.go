package loop

import (
	"time"
)

// Timing holds the daemon's waits; zero values mean the defaults.
type Timing struct {
	HelloRetry time.Duration // an unanswered or inconclusive hello is repeated: 12 s, the board rations them
	BusyRetry  time.Duration // a busy board is asked again: 1 s
	CancelWait time.Duration // for the answer to a cancel: 5 s
	Rejoin     time.Duration // for the clients of a daemon before this one to come back: 30 s
	InOrder    time.Duration // … before a job behind theirs overtakes: 10 s; they look every second, on a host that may be busy
	ArmedGrace time.Duration // beyond the client's timeout once a job is armed: 5 min
	SendWait   time.Duration // for room in the link's queue: 10 s
	AnswerWait time.Duration // for the answer to an auditor's challenge: 2 min, the board rations them and commits first
	FreshWait  time.Duration // for the answer to the greeting that a status makes: 2 s
	RoundsLook time.Duration // between looks at what waits for a round: 1 s
	SkewRetry  time.Duration // until what a wrong clock had refused is announced again: 1 min
}

func (t Timing) withDefaults() Timing {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&t.HelloRetry, 12*time.Second)
	def(&t.BusyRetry, time.Second)
	def(&t.CancelWait, 5*time.Second)
	def(&t.Rejoin, 30*time.Second)
	def(&t.InOrder, 10*time.Second)
	def(&t.ArmedGrace, 5*time.Minute)
	def(&t.SendWait, 10*time.Second)
	def(&t.AnswerWait, 2*time.Minute)
	def(&t.FreshWait, 2*time.Second)
	def(&t.RoundsLook, time.Second)
	def(&t.SkewRetry, time.Minute)
	return t
}
