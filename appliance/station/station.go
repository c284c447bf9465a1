// Package station runs the board: it owns every goroutine of the core process
// and moves data between the link, the operator, the log, the TPM and the
// token, in the order that package ceremony dictates.
//
// One goroutine, Run's, owns all state. Slow devices are served by one worker
// each (TPM, token), which posts its answer back into the loop; the log is
// written from the loop itself, because nothing may happen between an append
// and what depends on it. So there is no lock in this package and no state
// that two goroutines share.
//
// What the station promises beyond the ceremony's order: one job is on display
// at a time, in order of arrival; the same job (by the hash of its approval) is
// never executed twice; whatever stops the board, the next start either
// explains the TPM's state from the log or halts and says why.
package station

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/intake"
	"touchmark/appliance/operator"
	"touchmark/appliance/station/chain"
	"touchmark/appliance/station/challenges"
	"touchmark/appliance/station/clock"
	"touchmark/appliance/station/decree"
	"touchmark/appliance/station/fault"
	"touchmark/appliance/station/line"
	"touchmark/appliance/station/linkproc"
	"touchmark/appliance/station/loop"
	"touchmark/appliance/station/past"
	"touchmark/appliance/station/perform"
	"touchmark/appliance/station/platform"
	"touchmark/appliance/station/rounds"
	"touchmark/appliance/station/token"
	"touchmark/appliance/station/updates"
	"touchmark/appliance/update"
	"touchmark/hostlink/message"
	"touchmark/tpm/anchor/recovery"
	"touchmark/tpm/ledger"
)

// TPM is what the station needs of the TPM; tpm/device implements it.
type TPM = chain.TPM

// Link is one life of the process that parses the wire.
type Link = linkproc.Link

// Config is what a station is made of. All fields are required but those with
// a default.
type Config struct {
	Store    past.Log // past.Absent if there is none
	Genesis  []byte   // a copy of its genesis entry from beside it, nil if there is none
	Fault    error    // a *fault.HaltError that was found before the board came up, or nil
	TPM      TPM
	Token    func() (Token, error) // opens the token; called again after a removal
	Link     func(context.Context) (Link, error)
	Panel    operator.Panel
	LogKeys  LogKeys
	Log      zerolog.Logger
	Status   func(operator.View)    // told of every view; may be nil
	Clock    func() time.Time       // the board's clock
	Confirm  bool                   // the operator must confirm the clock first
	Firmware string                 // default update.Version
	Notice   string                 // what the operator must not forget of the board, "" for nothing
	Measured func() ledger.Measured // what was booted, nil where nobody knows; it may take until that is known
	Platform func() error           // locks the TPM's platform (device.TPM.LockPlatform); nil where that is not this board's
	Updates  *Updates               // how the board replaces its own image; nil: it does not
	Orders   string                 // directory where administrators' orders are put as NAME.note; may be empty

	ArmTimeout    time.Duration // default 10 min: an unattended board frees the queue
	MirrorTimeout time.Duration // default 20 s: several retransmissions at 9600 baud
	TokenPoll     time.Duration // default 500 ms: hot-plug is found by polling
	TPMPoll       time.Duration // default 30 s: a reset of an idle TPM is found by polling
	OrderPoll     time.Duration // default 2 s: how often Orders is looked at
	TPMRetry      time.Duration // default 1 s, doubled each time: the pause after a failed start
}

// Station is a running board.
type Station struct {
	cfg        Config
	log        zerolog.Logger
	hostLog    zerolog.Logger // of what a host can cause at will: sampled
	loop       loop.Loop      // everything that happens, in order
	operator   sync.WaitGroup
	tpm        loop.Worker
	token      *token.Keeper
	line       *line.Line
	greeting   greeting
	challenges *challenges.Desk
	rounds     *rounds.Rounds
	perform    *perform.Board
	chain      *chain.Chain // log and TPM
	past       *past.Past   // what the chain's log says

	fault    error // what keeps the board from starting
	halted   error // a *fault.HaltError
	lost     *job  // a restart came upon it; the host is told how it ended
	healing  *mending
	ordered  *errand         // a restart came upon it; the host is told what became of it
	updates  *updates.Keeper // nil if Config has none
	platform platform.Guard
	decree   *errand         // an administrators' order that is shown or under way
	declined decree.Declined // orders of hosts
	clock    *clock.Clock
	starting bool // the TPM's state is not explained yet
	silent   bool // because the TPM does not answer as it should

	job      *job
	queue    []*job
	ended    intake.Ended // jobs that came to nothing
	refusals intake.Tally // since the last intent
	view     operator.View
	wear     past.Wear
	recent   []operator.Ended // what came of the requests before, newest first; never changed in place
	alarm    string           // shown until the operator decides about another job
	quit     context.CancelFunc
	stopping bool // no new job; quit when the present one has ended
	stopped  bool
}

// New loads the log. It touches neither TPM nor token; Run does. A log that cannot
// be loaded halts the board once it runs.
func New(cfg Config) *Station {
	cfg = withDefaults(cfg)
	c := chain.New(chain.Config{Store: cfg.Store, TPM: cfg.TPM, Key: cfg.LogKeys.Find, Genesis: cfg.Genesis, Log: cfg.Log, Measured: cfg.Measured})
	s := &Station{cfg: cfg, log: cfg.Log, loop: loop.New(), chain: c, past: c.Past, clock: clock.New(cfg.Clock), platform: platform.Guard{Lock: cfg.Platform}}
	s.token = s.newToken()
	s.hostLog = cfg.Log.Sample(&zerolog.BurstSampler{Burst: hostLogBurst, Period: hostLogPeriod})
	s.greeting.ration = intake.NewRation(helloBurst, helloEvery, time.Now())
	s.meetHost()
	s.perform = s.newPerform()
	s.fault = cfg.Fault
	s.load()
	if s.keepClock(false) {
		s.load() // what is forgotten by now depends on the time
	}
	return s
}

// keepClock goes on with the correction of the clock that the log tells of; taken as
// chain.LastTime answers. It reports whether there is one.
func (s *Station) keepClock(taken bool) bool {
	return s.clock.Keep(s.past.LastBoot, s.past.LastTime, s.past.Correction, taken)
}

// load reads the log, unless the board cannot start anyway.
func (s *Station) load() {
	if err := s.loadDisk(); err != nil && s.fault == nil {
		s.fault = err
	}
}

// loadDisk reads what of the log is on this disk, before HEAD was asked whether that is
// all. A log key that it does not name is no fault yet: a log that lost its entries, or
// that comes back from a mirror, names the key of an earlier time. A start compares again.
func (s *Station) loadDisk() error {
	err := s.chain.Load(s.clock.Now())
	if err != nil && fault.HaltOf(err).Halt == recovery.LogKeyWrong {
		return nil
	}
	return err
}

// A host that sends nonsense must not fill the disk that the board's log of
// events is on: so many lines in a period are written, the rest is counted in
// the next intent.
const (
	hostLogBurst  = 32
	hostLogPeriod = 10 * time.Second
)

func withDefaults(c Config) Config {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.ArmTimeout, 10*time.Minute)
	def(&c.MirrorTimeout, 20*time.Second)
	def(&c.TokenPoll, 500*time.Millisecond)
	def(&c.TPMPoll, 30*time.Second)
	def(&c.OrderPoll, 2*time.Second)
	def(&c.TPMRetry, time.Second)
	c.Firmware = cmp.Or(c.Firmware, update.Version)
	if c.Status == nil {
		c.Status = func(operator.View) {}
	}
	return c
}

// Run serves until ctx ends or the operator quits; an armed ceremony is denied
// and brought to its recorded end first. When it returns, its goroutines have
// ended.
func (s *Station) Run(outer context.Context) {
	var ctx context.Context
	ctx, s.quit = context.WithCancel(context.WithoutCancel(outer))
	defer context.AfterFunc(outer, func() { s.loop.PostOperator(s.stop) })()
	s.tpm.Start(ctx, s.loop)
	defer s.tpm.Wait()
	s.startUpdates(ctx)
	defer s.updates.Wait()
	s.token.Start(ctx, s.loop)
	defer s.token.Stop()
	s.startOperator(ctx)
	defer s.operator.Wait()
	s.line.Start(ctx, s.loop) // its process comes up beside what follows; what it says waits for the loop
	defer s.line.Wait()
	switch {
	case s.fault != nil:
		s.halt(s.fault)
	case s.cfg.Confirm:
		s.show("confirm-time", operator.TimeQuestion)
		s.tick()
	default:
		s.boot(ledger.ClockSystem)
	}
	s.watchTPM()
	s.recall() // not before: nothing waits for it
	s.update()
	defer s.scrub(ctx)()
	defer s.watchOrders(ctx)()
	// Before anything is waited for: whoever still posts must not wait for us.
	defer s.loop.Close()
	defer s.quit()
	for f := s.loop.Next(ctx); f != nil; f = s.loop.Next(ctx) {
		f()
	}
	s.stopped = true
	s.show("stopped", "The appliance has stopped.")
}

// tick keeps the clock on the display moving while it is to be confirmed.
func (s *Station) tick() {
	s.loop.After(time.Second, func() {
		if !s.clock.Confirmed() {
			s.update()
			s.tick()
		}
	})
}

// stop quits in good order; a second call quits at once.
func (s *Station) stop() {
	if s.job == nil && !s.committing() || s.stopping {
		s.quit()
		return
	}
	s.stopping = true
	if s.job == nil {
		return // what was ordered is committed to its end
	}
	s.job.ceremony.Step(ceremony.Deny{})
}

// boot explains the TPM's state from the log and writes the boot entry. A
// state that cannot be explained halts the board; it goes on to serve status
// and the log, and signs nothing. A TPM that does not answer is asked again.
func (s *Station) boot(by string) {
	s.clock.Confirm(by)
	s.startUp(s.cfg.TPMRetry)
}

// halt stops signing until a restart. What is on disk stays as it is. A job on
// display is refused; an armed one is denied, because its token may blink, and
// the display says so until that has ended. A halt that something leads out of
// gives way to what is met on that way.
func (s *Station) halt(err error) {
	if s.halted == nil || fault.LedOut(s.halted) {
		s.halted = fault.HaltOf(err)
	}
	s.log.Error().Err(err).Msg("halted")
	text := haltedText(s.halted)
	for _, j := range s.queue {
		s.refuse(j.id, message.CodeHalted, text)
	}
	s.queue = nil
	s.refuse(message.JobID{}, message.CodeHalted, text) // a host that asks for nothing now hears it too
	defer s.lateHello()
	if j := s.job; j != nil {
		j.ceremony.Step(ceremony.Withdraw{Code: message.CodeHalted, Text: text})
		j.ceremony.Step(ceremony.Deny{})
		return
	}
	s.rest("")
}

func haltedText(err error) string { return "the appliance has halted: " + err.Error() }

// rest is what follows the last ceremony of a halted board.
func (s *Station) rest(text string) {
	defer s.challenges.Answer()
	s.show("halted", text)
	if s.stopping {
		s.quit()
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
