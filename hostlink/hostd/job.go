package hostd

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/spool"
	"touchmark/hostlink/hostd/waiter"
	"touchmark/hostlink/message"
)

// job is one request to the appliance, from its arrival until it is decided and
// its client has the answer. It belongs to the loop. Clients come and go: the
// job is what is left when the daemon or a client is restarted.
type job struct {
	key     spool.Key
	class   string
	timeout time.Duration
	park    bool // asked for to be approved only
	items   []message.Item
	states  []hashstate.State // of what the items' formats are over
	sent    []message.Content // what the appliance is sent of them
	waiters waiter.Group

	record    *spool.Record // nil until it was accepted
	proof     *proof        // of its intent, once a checkpoint covers that
	kept      bool          // the record is durable: the client was told
	submitted bool          // in this session
	ever      bool          // in any session, of an earlier daemon too: the board may know it
	asked     time.Time     // host time of the newest submission
	awaited   bool          // resumed, and its client may still come back
	notBefore time.Time     // host time of the next submission at the earliest
	plainHead bool          // commit to the proven head only
	cancels   int           // how often the board dropped it unasked
	ending    *api.Response // after a cancel: the answer if the board confirms or is silent
	extended  bool          // the client's timeout has passed, but the job is armed
	doubts    int           // how often the log's answer did not verify and was asked for again
	said      bool          // that it is armed
	hint      api.Event     // what the board said last
	earlier   bool          // joined by another request for the same
	timer     *time.Timer
}

// id is the job's identity, zero before it was accepted.
func (j *job) id() message.JobID {
	if j.record == nil {
		return message.JobID{}
	}
	return j.record.Job
}

// newJob checks a client's request. The client is local and trusted with its
// own files only: everything is parsed strictly.
func newJob(r *api.Request) (*job, error) {
	if len(r.Items) == 0 || len(r.Items) > message.MaxItems {
		return nil, fmt.Errorf("%d files at once: sign 1 to %d", len(r.Items), message.MaxItems)
	}
	j := &job{class: r.Class, timeout: r.Wait(), park: r.Park}
	if j.timeout <= 0 || j.timeout > maxTimeout {
		return nil, fmt.Errorf("timeout %s: use up to %s", j.timeout, maxTimeout)
	}
	if len(r.Key) != len(j.key) {
		return nil, fmt.Errorf("a key of %d bytes: use %d random ones", len(r.Key), len(j.key))
	}
	j.key = spool.Key(r.Key)
	documents := 0
	for _, it := range r.Items {
		if err := j.addItem(it); err != nil {
			return nil, err
		}
		documents += len(it.Document)
	}
	if documents > message.MaxDocuments {
		return nil, fmt.Errorf("%d bytes of documents at once: at most %d", documents, message.MaxDocuments)
	}
	return j, nil
}

func (j *job) addItem(it api.Item) error {
	if _, known := sigformat.FormatOf(it.Format); !known {
		return fmt.Errorf("format %q is not known: use %s", it.Format, strings.Join(sigformat.FormatNames(), ", "))
	}
	if err := message.ValidName(it.Name); err != nil {
		return err
	}
	if slices.ContainsFunc(j.items, func(o message.Item) bool { return o.Name == it.Name && o.Format == it.Format }) {
		return fmt.Errorf("two files are called %s: sign them in separate calls", it.Name)
	}
	digest, err := message.ParseDigest(it.Digest)
	if err != nil {
		return err
	}
	state, err := stateOf(it, digest.Alg)
	if err != nil {
		return err
	}
	if state.Count() != it.Size || !digest.Equal(message.Digest{Alg: digest.Alg, Sum: state.Digest()}) {
		return fmt.Errorf("%s: digest, size and hash state or document do not belong together", it.Name)
	}
	j.items = append(j.items, message.Item{Format: it.Format, Digest: digest, Size: it.Size, Name: it.Name})
	j.states = append(j.states, state)
	j.sent = append(j.sent, message.Content{State: it.State, Document: it.Document})
	return nil
}

// stateOf is the state of what an item's format is over.
func stateOf(it api.Item, alg message.Alg) (hashstate.State, error) {
	switch {
	case it.Document == nil:
		return hashstate.Parse(alg, it.State)
	case it.State != nil:
		return hashstate.State{}, fmt.Errorf("%s: a hash state and a document: send one of them", it.Name)
	case len(it.Document) > message.MaxDocument:
		return hashstate.State{}, fmt.Errorf("%s: a document of %d bytes: at most %d", it.Name, len(it.Document), message.MaxDocument)
	}
	h := hashstate.New(alg)
	_, _ = h.Write(it.Document) // a hash never fails
	return h.State(), nil
}

// restored makes a job of what an earlier daemon kept. The board may know it.
func restored(r *spool.Record, origin string) (*job, error) {
	text, err := message.NoteText(r.Approval)
	if err != nil {
		return nil, err
	}
	a, err := message.ParseApproval(text)
	switch {
	case err != nil:
		return nil, err
	case a.Origin != origin:
		return nil, fmt.Errorf("job %s is for log %s", r.Job, a.Origin)
	case len(r.Contents) != len(a.Items):
		return nil, fmt.Errorf("job %s has %d hash states and documents for %d items", r.Job, len(r.Contents), len(a.Items))
	}
	j := &job{key: r.Key, class: a.Class, record: r, kept: true, ever: true, timeout: r.Deadline.Sub(r.Created)}
	for i, it := range a.Items {
		c := r.Contents[i]
		err := j.addItem(api.Item{Name: it.Name, Format: it.Format, Digest: it.Digest.String(), Size: it.Size, State: c.State, Document: c.Document})
		if err != nil {
			return nil, fmt.Errorf("job %s: %w", r.Job, err)
		}
	}
	return j, nil
}

// sameAs reports whether two requests want the same: the same bytes, names and
// class. "" as class is whatever the policy gives.
func (j *job) sameAs(o *job) bool {
	same := func(a, b message.Item) bool {
		return a.Format == b.Format && a.Name == b.Name && a.Size == b.Size && a.Digest.Equal(b.Digest)
	}
	return (o.class == "" || j.class == o.class) && slices.EqualFunc(j.items, o.items, same)
}

// tell passes a hint on to whoever waits.
func (j *job) tell(state, text string) { j.emit(api.Event{State: state, Text: text}) }

func (j *job) hear(m *message.Event) {
	j.emit(api.Event{State: m.State, Item: m.Item, Seconds: m.Seconds})
}

func (j *job) emit(e api.Event) {
	if j.record != nil {
		e.Job = j.record.Job.String()
	}
	j.hint = e
	j.waiters.Emit(e)
}

// answer gives everybody who waits the last word.
func (j *job) answer(resp *api.Response) {
	if j.record != nil {
		resp.Job = j.record.Job.String()
	}
	resp.Earlier = j.earlier
	j.waiters.Answer(resp)
}
