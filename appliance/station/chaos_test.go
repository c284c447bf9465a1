package station

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/intake/intaketest"
	"touchmark/appliance/operator"
	"touchmark/hostlink/linkpipe"
	"touchmark/hostlink/message"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledgerstore"
)

// chaos does everything that a host, whoever sits on its cable and an operator
// can do, in an order drawn from a seed.
type chaos struct {
	*board
	rnd      *rand.Rand
	jobs     []*intaketest.Request
	recorded [][]byte // what hosts have signed, to be sent again
	sid      uint32
	hellos   int
	arms     int
	fresh    chan *fakeLink // each life of the link process
}

// start starts the board with as many link processes as it takes: it ends one
// whose host does not keep up with what it is told, and here hosts may be slow.
func (c *chaos) start() {
	c.fresh = make(chan *fakeLink, 16)
	c.links = func(context.Context) (Link, error) {
		l := newFakeLink()
		c.fresh <- l
		return l, nil
	}
	c.board.start()
	c.relink()
}

// relink goes on with the next link process.
func (c *chaos) relink() {
	select {
	case c.link = <-c.fresh:
		c.session()
	case <-time.After(patience):
		c.t.Fatal("no link process follows the one that ended")
	}
}

// helloTokens keeps some of the ration for the end.
const helloTokens = helloBurst - 2

func (c *chaos) say(raw []byte) {
	c.recorded = append(c.recorded, raw)
	c.send(raw)
}

func (c *chaos) anyJob() *intaketest.Request { return c.jobs[c.rnd.IntN(len(c.jobs))] }

func (c *chaos) session() {
	c.sid++
	c.link.put(linkpipe.Msg{Kind: linkpipe.Up, SID: c.sid})
	c.entries = nil
	if c.hellos < helloTokens {
		c.hellos++
		c.say(c.board.hello())
	}
}

func (c *chaos) step() {
	select {
	case <-c.link.closed:
		c.relink()
	default:
	}
	job := c.anyJob()
	id := job.Job()
	size, root := c.root()
	now := c.now()
	switch c.rnd.IntN(16) {
	case 0, 1, 2:
		job.Submission.HeadSize, job.Submission.HeadRoot, job.Submission.HostTime = size, root, now.Add(time.Duration(c.rnd.IntN(60)-30)*time.Second)
		c.say(job.Submit().Marshal())
	case 3:
		c.send(c.recorded[c.rnd.IntN(len(c.recorded))])
	case 4:
		c.say(c.forge.Cancel(c.host, id, now.Add(time.Duration(c.rnd.IntN(60)-30)*time.Second)))
	case 5:
		c.send((&message.Mirrored{Size: size, Root: root}).Marshal())
	case 6:
		c.send((&message.Mirrored{Size: c.rnd.Uint64N(40), Root: root}).Marshal())
	case 7:
		c.send((&message.Fetch{From: c.rnd.Uint64N(size + 2)}).Marshal())
	case 8:
		if c.rnd.IntN(4) == 0 {
			c.session()
		}
	case 9:
		b := []byte(fmt.Sprintf("touchmark/%s/v1\n", []string{"entries", "order", "done", "x"}[c.rnd.IntN(4)]))
		c.send(b)
	case 10:
		c.link.put(linkpipe.Msg{Kind: linkpipe.Down, Text: "lost"})
		c.session()
	case 11, 12:
		c.arms++
		c.command(operator.Command{Verb: operator.Arm, Job: id.String()})
	case 13:
		c.command(operator.Command{Verb: operator.Deny, Job: id.String()})
	default:
		c.touch()
	}
	c.listen()
}

// touch ends a wait of the token, if there is one.
func (c *chaos) touch() {
	select {
	case <-c.token.waiting:
		c.finish()
	default:
	}
}

func (c *chaos) finish() {
	ends := []error{nil, nil, ceremony.ErrTouchTimeout}
	c.token.touch <- ends[c.rnd.IntN(len(ends))]
}

// listen does what a host does with what has come, but acknowledges only some.
func (c *chaos) listen() {
	for {
		select {
		case m := <-c.link.out:
			p, err := fromBoard(m)
			must(c.t, err)
			e, ok := p.(*message.Entries)
			if !ok || e.Start > uint64(len(c.entries)) {
				continue
			}
			if have := uint64(len(c.entries)) - e.Start; have < uint64(len(e.Entries)) {
				c.entries = append(c.entries, e.Entries[have:]...)
			}
			if c.rnd.IntN(3) > 0 {
				c.ack()
			}
		default:
			return
		}
	}
}

// settle denies what is left until nothing is on display. What is not on display
// cannot be denied, and the display says so: each denial gives a view.
func (c *chaos) settle() {
	c.t.Helper()
	deadline := time.After(patience)
	for id := "nothing"; ; {
		c.command(operator.Command{Verb: operator.Deny, Job: id})
		select {
		case v := <-c.panel.views:
			for len(c.panel.views) > 0 { // the newest counts
				v = <-c.panel.views
			}
			if id = "nothing"; v.Job != nil {
				id = v.Job.ID
			} else if v.Queue == 0 {
				return
			}
		case <-c.token.waiting:
			c.finish()
		case <-deadline:
			c.t.Fatal("the board does not come to rest")
		}
		c.listen()
	}
}

// TestChaos: whatever comes in whatever order, no job has a second intent, no
// more is committed than was armed, and the board still serves an honest host.
func TestChaos(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			b := newBoard(t)
			b.cfg.MirrorTimeout = 20 * time.Millisecond
			c := &chaos{board: b, rnd: rand.New(rand.NewPCG(seed, 1))}
			for i := range 6 {
				c.jobs = append(c.jobs, b.forge.Honest(fmt.Sprint("content ", i)))
			}
			c.start()
			b.tpm.counts()
			for range 400 {
				c.step()
			}
			c.settle()
			if n := b.tpm.counts()["NV_Extend"]; n > c.arms {
				t.Errorf("%d commits, %d arms", n, c.arms)
			}
			b.kill()
			once(t, b.dir)
			b.links, b.cfg.MirrorTimeout = nil, 0 // the default: an honest host has its time
			b.entries, b.ended, b.refused = nil, map[message.JobID]*message.Done{}, map[message.JobID]*message.Refused{}
			b.start()
			b.connect()
			b.signs("last.db", "last")
		})
	}
}

// once wants at most one intent and one outcome of each job in a log.
func once(t *testing.T, dir string) {
	t.Helper()
	store, err := ledgerstore.Open(dir)
	must(t, err)
	defer store.Close()
	intents, outcomes := map[message.JobID]int{}, map[message.JobID]int{}
	for raw, err := range store.Entries(0, store.Size()) {
		must(t, err)
		_, body, err := ledger.Parse(raw)
		must(t, err)
		switch b := body.(type) {
		case *ledger.Intent:
			intents[b.Job]++
		case *ledger.Outcome:
			outcomes[b.Job]++
		}
	}
	for id, n := range intents {
		if n != 1 || outcomes[id] != 1 {
			t.Errorf("job %s: %d intents, %d outcomes", id, n, outcomes[id])
		}
	}
	t.Logf("%d jobs in the log", len(intents))
}
