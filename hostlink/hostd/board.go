package hostd

import (
	"context"
	"errors"
	"slices"
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
	"touchmark/tpm/ledgerstore"
	"touchmark/tpm/ledgerstore/durable"
)

// conversation is one session with the board. Until it is ready nothing is
// submitted.
type conversation struct {
	sid         uint32
	nonce       [16]byte
	welcome     *message.Welcome
	head        [32]byte // HEAD as attested for this nonce
	ready       bool     // attestation, checkpoint and mirror agree
	problem     string   // why it is not
	unexplained int
	halted      bool          // the board says so: it signs nothing
	halt        string        // the state that it has halted in, if it says
	seen        time.Time     // when the board proved itself last
	ahead       time.Duration // how far the board's clock was before this host's when it last said its time
	refresh     refresh
	suspect     bool   // what comes over the link contradicts what is proven
	fetching    uint64 // number of the fetch that is not answered yet, 0 if none
	fetches     uint64
	reread      bool           // entries were dropped and asked for again a moment ago
	total       uint64         // leaves the board says it holds
	offered     uint64         // entries up to which a board that lacks them was given them, 0 if none
	handed      bool           // orders under way were handed over in it
	asked       *asked         // the auditor's challenge that the board has, nil if none
	told        message.Rounds // what it was told of rounds; it begins with none
	untold      bool           // it did not take that: it is told again
	skewed      bool           // … after a while, when the clock that was wrong may be right
}

func (d *Daemon) fromLink(ctx context.Context, ev serialport.Event) {
	switch ev.Kind {
	case serialport.Opened:
		d.log.Info().Str("device", ev.Device).Msg("serial device open")
		d.linkText = "the device is open, the appliance does not answer: check cable, power and baud rate"
	case serialport.Unavailable:
		d.linkText = ev.Err.Error()
		d.log.Warn().Err(ev.Err).Msg("serial device")
	case serialport.Up:
		d.log.Info().Uint32("session", ev.SID).Msg("link up")
		d.answered(api.Fail(api.LinkDown, lostAnswer))
		d.conv = &conversation{sid: ev.SID, problem: "the appliance has not answered yet; it never does if the host key " + d.o.Key.Name() + " is not in its policy"}
		d.hello(d.conv)
	case serialport.Down:
		d.down(ev.Err)
	case serialport.Message:
		if d.conv != nil {
			d.fromBoard(ev.Body)
		}
	}
}

// lostAnswer ends a challenge whose session did.
const lostAnswer = "the link went down before the appliance answered the challenge: ask again"

func (d *Daemon) down(err error) {
	d.answered(api.Fail(api.LinkDown, lostAnswer))
	d.conv = nil
	d.linkText = "the link is down"
	if err != nil {
		d.linkText = err.Error()
	}
	d.log.Warn().Str("why", d.linkText).Msg("link down")
	for _, j := range d.jobs {
		j.submitted = false
		if !d.parked(j) { // who waits for people waits for no link
			j.tell("link-lost", d.linkText)
		}
	}
	d.orderLost()
}

// broken is an error on this host that keeps it from working, such as a full
// disk: what waits is withdrawn, because the mirror could not take its intent.
func (d *Daemon) broken(err error) {
	d.log.Error().Err(err).Msg("mirror")
	for _, j := range slices.Clone(d.jobs) {
		if d.armed(j) { // how it ends stands in entries that cannot be taken
			j.answer(api.Fail(api.MaySigned, "the mirror of the log cannot be written: %v; then restart touchmark-hostd: job %s may be signed%s", err, j.id(), later(j)))
			continue
		}
		d.withdraw(j, api.Fail(api.CannotWrite, "the mirror of the log cannot be written: %v; then restart touchmark-hostd", err))
	}
	if d.conv != nil {
		d.conv.ready, d.conv.problem = false, err.Error()
	}
}

// problem sorts an error from the mirror: a contradiction that the appliance
// signed is an alarm, a failing disk ends what waits, and for what only came
// over the link the appliance is asked again.
func (d *Daemon) problem(err error) {
	var ev *mirror.Evidence
	var disk *durable.DiskError
	var corrupt *ledgerstore.CorruptError
	switch {
	case errors.As(err, &disk), errors.As(err, &corrupt):
		d.broken(err)
	case errors.As(err, &ev) && !ev.Hearsay:
		d.conv.ready, d.conv.problem = false, ev.Text
		d.alarm(ev)
	case errors.As(err, &ev):
		d.suspect(ev)
	default:
		d.log.Error().Err(err).Msg("the appliance's log does not verify")
		d.distrust(err.Error())
	}
}

// suspect notes what contradicts the log and nobody signed. Nothing is
// submitted until the appliance has proven itself again.
func (d *Daemon) suspect(ev *mirror.Evidence) {
	d.log.Error().Str("kind", ev.Kind).Msg(ev.Text)
	if err := ev.Save(d.o.State, d.loop.Now()); err != nil {
		d.log.Error().Err(err).Msg("hearsay not saved")
	}
	if err := d.mirror.Drop(); err != nil {
		d.broken(err)
		return
	}
	d.conv.suspect = true
	d.distrust(ev.Text)
	for _, j := range d.jobs {
		j.tell("suspect", ev.Text)
	}
}

// distrust stops submitting until another hello has cleared things up.
func (d *Daemon) distrust(why string) {
	c := d.conv
	c.problem, c.welcome = why, nil
	if c.ready {
		c.ready = false
		d.loop.After(d.loop.Waits.HelloRetry, func() { d.hello(c) })
	}
}

// reread drops the entries that no checkpoint covers and asks for them again:
// somebody on the cable may have made them.
func (d *Daemon) reread() {
	c := d.conv
	if c == nil || c.reread || d.mirror.Size() == d.mirror.Committed() {
		return
	}
	c.reread = true
	d.loop.After(d.loop.Waits.BusyRetry, func() { c.reread = false })
	size := d.mirror.Size()
	if err := d.mirror.Drop(); err != nil {
		d.broken(err)
		return
	}
	c.total, c.fetching = max(c.total, size), 0
	d.fetch()
}

func (d *Daemon) fromBoard(raw []byte) {
	text, err := d.unpacker.Unpack(raw)
	var parsed any
	if err == nil {
		parsed, err = message.Parse(text)
	}
	if err != nil {
		d.log.Warn().Err(err).Msg("malformed message from the board")
		return
	}
	switch m := parsed.(type) {
	case *message.Welcome:
		d.welcome(m)
	case *message.Entries:
		d.entries(m)
	case *message.Checkpoint:
		d.checkpoint(m)
	case *message.Event:
		d.event(m)
	case *message.Refused:
		d.refused(m)
	case *message.Done:
		d.doneHint(m)
	case *message.Fetch:
		d.offer(m.From)
	case *message.Answer:
		d.boardAnswers(m)
	case *message.OpenRound:
		d.openRound(m)
	default:
		d.log.Warn().Msgf("the board sent a %T, which only hosts send", m)
	}
}

// offer sends a board that asks the entries of the mirror from an index on, as
// many as one message holds. They are no secret.
func (d *Daemon) offer(from uint64) {
	total := d.mirror.Size()
	m := message.Entries{Start: from, Total: total}
	room := message.MaxMessage - message.EntriesOverhead
	for e, err := range d.mirror.Store.Entries(min(from, total), min(total, from+message.MaxEntries)) {
		if err != nil {
			d.broken(err)
			return
		}
		if room -= len(e) + 12; room < 0 {
			break
		}
		m.Entries = append(m.Entries, e)
	}
	if len(m.Entries) == 0 {
		return
	}
	if c := d.conv; from < c.offered || c.offered == 0 { // it goes on from there, at any length
		d.log.Warn().Uint64("from", from).Uint64("of", total).Msg("the appliance asks for entries of its log")
	}
	d.conv.offered = from + uint64(len(m.Entries))
	d.send(m.Marshal())
}

// fetch asks for entries that are missing, one request at a time. One that is
// not answered was for entries that only somebody on the cable spoke of, or the
// board is slow: then what it says next counts.
func (d *Daemon) fetch() {
	c, size := d.conv, d.mirror.Size()
	if c.fetching > 0 || size >= c.total {
		return
	}
	c.fetches++
	n := c.fetches
	c.fetching = n
	d.loop.After(d.loop.Waits.HelloRetry, func() {
		if c.fetching == n {
			c.fetching, c.total = 0, d.mirror.Size()
		}
	})
	f := message.Fetch{From: size}
	d.send(f.Marshal())
}

func (d *Daemon) entries(m *message.Entries) {
	c := d.conv
	c.total = max(c.total, min(m.Total, d.mirror.Size()+maxBehind))
	c.fetching = 0
	changed, err := d.mirror.Add(m)
	if err != nil && !errors.Is(err, mirror.ErrGap) {
		d.problem(err)
		return
	}
	if changed {
		d.acknowledge()
		d.tellArmed()
	}
	d.fetch()
	d.settleWelcome()
	d.settle()
	d.publishIdle()
}

// tellArmed tells who waits for a job that the log has its intent.
func (d *Daemon) tellArmed() {
	for _, j := range d.jobs {
		if armed := d.armed(j); armed != j.said {
			if j.said = armed; armed {
				j.tell(message.EventArmed, "")
			}
		}
	}
}

// acknowledge says what this host holds durably.
func (d *Daemon) acknowledge() {
	size, root, err := d.mirror.Head()
	if err != nil {
		d.broken(err)
		return
	}
	m := message.Mirrored{Size: size, Root: root}
	d.send(m.Marshal())
}

func (d *Daemon) checkpoint(m *message.Checkpoint) {
	before := d.mirror.Committed()
	if err := d.mirror.Advance(m.Note); err != nil {
		d.problem(err)
		return
	}
	d.settleWelcome()
	d.settle()
	d.proveArmed()
	d.publishIdle()
	if d.conv.halted && d.mirror.Committed() > before {
		d.helloAgain() // what a halted board commits may have led it out
	}
}

// publishIdle publishes unless a job is under way: its end publishes.
func (d *Daemon) publishIdle() {
	if len(d.jobs) == 0 {
		d.publish()
	}
}

func (d *Daemon) doneHint(m *message.Done) {
	if d.find(m.Job) != nil {
		d.conv.total = max(d.conv.total, min(m.Outcome+1, d.mirror.Size()+maxBehind))
		d.fetch()
	}
}

func (d *Daemon) event(m *message.Event) {
	if j := d.find(m.Job); j != nil {
		j.hear(m)
		return
	}
	d.orderEvent(m)
}

// linkState says in a line how the conversation is.
func (d *Daemon) linkState() string {
	switch {
	case d.conv == nil:
		return "down: " + d.linkText
	case d.conv.halted:
		return d.conv.haltedText()
	case !d.conv.ready:
		return "not verified: " + d.conv.problem
	}
	return "up"
}

// ready reports whether a job can be submitted.
func (d *Daemon) ready() bool { return d.proven() && !d.conv.halted }

// proven reports whether the board has proven itself and nothing speaks against it; it
// may have halted.
func (d *Daemon) proven() bool {
	return d.conv != nil && d.conv.ready && d.evidence == "" && !d.stopping
}

func boardTime(c *conversation) string {
	if c == nil || c.welcome == nil {
		return ""
	}
	return c.welcome.Time.Format(time.RFC3339)
}
