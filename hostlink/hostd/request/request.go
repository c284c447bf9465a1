// Package request reads what a client asks to have signed, strictly, and knows it again after a restart. Whatever becomes of
// it is the queue's.
package request

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/spool"
	"touchmark/hostlink/message"
)

// Request is what is to be signed, and how long somebody waits for that.
type Request struct {
	Key     spool.Key
	Class   string
	Timeout time.Duration
	Park    bool // to be approved only
	Items   []message.Item
	States  []hashstate.State // of what the items' formats are over
	Sent    []message.Content // what the appliance is sent of them
}

// maxTimeout is how long a request may wait for its signature: people who
// must approve it may be away over a weekend.
const maxTimeout = 7 * 24 * time.Hour

// New checks a client's request. The client is local and trusted with its
// own files only: everything is parsed strictly.
func New(a *api.Request) (*Request, error) {
	if len(a.Items) == 0 || len(a.Items) > message.MaxItems {
		return nil, fmt.Errorf("%d files at once: sign 1 to %d", len(a.Items), message.MaxItems)
	}
	r := &Request{Class: a.Class, Timeout: a.Wait(), Park: a.Park}
	if r.Timeout <= 0 || r.Timeout > maxTimeout {
		return nil, fmt.Errorf("timeout %s: use up to %s", r.Timeout, maxTimeout)
	}
	if len(a.Key) != len(r.Key) {
		return nil, fmt.Errorf("a key of %d bytes: use %d random ones", len(a.Key), len(r.Key))
	}
	r.Key = spool.Key(a.Key)
	documents := 0
	for _, it := range a.Items {
		if err := r.add(it); err != nil {
			return nil, err
		}
		documents += len(it.Document)
	}
	if documents > message.MaxDocuments {
		return nil, fmt.Errorf("%d bytes of documents at once: at most %d", documents, message.MaxDocuments)
	}
	return r, nil
}

func (r *Request) add(it api.Item) error {
	if _, known := sigformat.FormatOf(it.Format); !known {
		return fmt.Errorf("format %q is not known: use %s", it.Format, strings.Join(sigformat.FormatNames(), ", "))
	}
	if err := message.ValidName(it.Name); err != nil {
		return err
	}
	if slices.ContainsFunc(r.Items, func(o message.Item) bool { return o.Name == it.Name && o.Format == it.Format }) {
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
	r.Items = append(r.Items, message.Item{Format: it.Format, Digest: digest, Size: it.Size, Name: it.Name})
	r.States = append(r.States, state)
	r.Sent = append(r.Sent, message.Content{State: it.State, Document: it.Document})
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

// Restored makes the request of what an earlier daemon kept of it, for the log of this origin.
func Restored(kept *spool.Record, origin string) (*Request, error) {
	text, err := message.NoteText(kept.Approval)
	if err != nil {
		return nil, err
	}
	a, err := message.ParseApproval(text)
	switch {
	case err != nil:
		return nil, err
	case a.Origin != origin:
		return nil, fmt.Errorf("job %s is for log %s", kept.Job, a.Origin)
	case len(kept.Contents) != len(a.Items):
		return nil, fmt.Errorf("job %s has %d hash states and documents for %d items", kept.Job, len(kept.Contents), len(a.Items))
	}
	r := &Request{Key: kept.Key, Class: a.Class, Timeout: kept.Deadline.Sub(kept.Created)}
	for i, it := range a.Items {
		c := kept.Contents[i]
		err := r.add(api.Item{Name: it.Name, Format: it.Format, Digest: it.Digest.String(), Size: it.Size, State: c.State, Document: c.Document})
		if err != nil {
			return nil, fmt.Errorf("job %s: %w", kept.Job, err)
		}
	}
	return r, nil
}

// SameAs reports whether two requests want the same: the same bytes, names and
// class. "" as class is whatever the policy gives.
func (r *Request) SameAs(o *Request) bool {
	same := func(a, b message.Item) bool {
		return a.Format == b.Format && a.Name == b.Name && a.Size == b.Size && a.Digest.Equal(b.Digest)
	}
	return (o.Class == "" || r.Class == o.Class) && slices.EqualFunc(r.Items, o.Items, same)
}
