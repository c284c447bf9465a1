package ledger

import (
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
)

// Intent says what is about to be signed. It is committed to the TPM before
// the token is asked. The header's time is the creation time of the
// signatures.
type Intent struct {
	Sequence   uint64    // of this log's intents: starts with 1, rises by 1
	Policy     [32]byte  // hash of the policy that admitted it
	Key        [20]byte  // fingerprint of the key that shall sign
	Refusals   uint64    // requests refused since the previous intent
	Refused    []Refused // of what kinds: none, or in rising order of code, adding up to Refusals
	Job        message.JobID
	Approval   []byte // approval note
	Submission []byte // submission note

	// SignDigests holds, per item, the final digest given to the token:
	// hash state, hashed subpackets and trailer included (RFC 4880 section
	// 5.2.4).
	SignDigests []message.Digest
}

// Refused counts the requests that were refused with one code.
type Refused struct {
	Code  string // message.Code...
	Count uint64 // at least 1
}

func (i *Intent) kind() string { return KindIntent }

func (i *Intent) write(w *canon.Writer) {
	w.Line("sequence", canon.Uint(i.Sequence))
	w.Line("policy", canon.Hex(i.Policy[:]))
	w.Line("key", canon.Hex(i.Key[:]))
	w.Line("refusals", canon.Uint(i.Refusals))
	for _, c := range i.Refused {
		w.Line("refused", c.Code, canon.Uint(c.Count))
	}
	w.Line("job", canon.Hex(i.Job[:]))
	w.Block("approval", i.Approval)
	w.Block("submission", i.Submission)
	for _, d := range i.SignDigests {
		w.Line("sign", d.String())
	}
}

func (i *Intent) read(r *canon.Reader) {
	i.Sequence = r.Uint(r.Line("sequence", 1)[0], MaxSize)
	i.Policy = readHash(r, r.Line("policy", 1)[0])
	i.Key = [20]byte(r.Hex(r.Line("key", 1)[0], 20))
	i.Refusals = r.Uint(r.Line("refusals", 1)[0], MaxSize)
	i.Refused = readRefused(r, i.Refusals)
	i.Job = message.JobID(r.Hex(r.Line("job", 1)[0], 32))
	i.Approval = r.Block("approval", MaxNote)
	i.Submission = r.Block("submission", MaxNote)
	for r.Peek() == "sign" && len(i.SignDigests) < MaxItems {
		i.SignDigests = append(i.SignDigests, readDigest(r))
	}
	if r.Err() == nil && len(i.SignDigests) == 0 {
		r.Failf("an intent has 1 to %d sign lines", MaxItems)
	}
}

// readRefused reads the counts by code, which add up to total if there are any:
// the entries of the first logs have none.
func readRefused(r *canon.Reader, total uint64) (all []Refused) {
	rest := total
	for r.Peek() == "refused" && len(all) < MaxCodes {
		f := r.Line("refused", 2)
		c := Refused{Code: readToken(r, f[0]), Count: r.Uint(f[1], rest)}
		switch {
		case r.Err() != nil:
			return nil
		case c.Count == 0:
			r.Failf("refused %s: 0 is not written down", c.Code)
		case len(all) > 0 && all[len(all)-1].Code >= c.Code:
			r.Failf("refused %s: codes stand in rising order, each once", c.Code)
		}
		rest -= c.Count
		all = append(all, c)
	}
	if r.Err() == nil && len(all) > 0 && rest != 0 {
		r.Failf("the counts of refused lines are %d short of refusals %d", rest, total)
	}
	return all
}

func readDigest(r *canon.Reader) message.Digest {
	s := r.Line("sign", 1)[0]
	if r.Err() != nil {
		return message.Digest{}
	}
	d, err := message.ParseDigest(s)
	if err != nil {
		r.Failf("sign: %v", err)
	}
	return d
}

// State says what became of one item.
type State string

// The states of an item in an outcome.
const (
	Signed     State = "signed"          // the signature is in the entry
	Withheld   State = "signed-withheld" // it came too late, was destroyed; its hash is in the entry
	Denied     State = "denied"          // the operator refused, and the token did not sign, it says
	TimedOut   State = "timed-out"       // the token was asked, nobody touched, it says
	Failed     State = "failed"          // token or appliance error; a reason
	NotStarted State = "not-started"     // the token was never asked; a reason
	Unknown    State = "unknown"         // the appliance stopped in between; counts as signed
)

// Asked reports whether the state itself says that the token was, or may have
// been, asked. An honest appliance asks only after HEAD took the intent.
func (s State) Asked() bool { return s != Denied && s != NotStarted }

// MayHaveSigned reports whether a signature may exist although none is in the
// log. Once HEAD took the intent (committed), that is any state but Signed:
// nothing forces an appliance that was taken over to tell the truth about what
// the token answered, or to tell it at all.
func (s State) MayHaveSigned(committed bool) bool { return s != Signed && (committed || s.Asked()) }

// Counts reports whether the item uses up the class's rate: signed, withheld
// and unknown ones do.
func (s State) Counts() bool { return s == Signed || s == Withheld || s == Unknown }

// ItemResult is the outcome of one item; at most one of the values is set, as
// the state demands.
type ItemResult struct {
	State     State
	Signature []byte   // Signed: the signature file's bytes
	Hash      [32]byte // Withheld: SHA-256 of the destroyed signature
	Reason    string   // Failed, NotStarted: a word
}

// Outcome ends an intent: one result per item, in the intent's order.
type Outcome struct {
	Intent uint64 // index of the intent entry
	Job    message.JobID
	Items  []ItemResult
}

func (o *Outcome) kind() string { return KindOutcome }

func (o *Outcome) write(w *canon.Writer) {
	w.Line("intent", canon.Uint(o.Intent))
	w.Line("job", canon.Hex(o.Job[:]))
	for _, it := range o.Items {
		w.Line("item", string(it.State), it.value())
	}
}

func (it ItemResult) value() string {
	switch it.State {
	case Signed:
		return canon.Base64(it.Signature)
	case Withheld:
		return canon.Hex(it.Hash[:])
	case Failed, NotStarted:
		return it.Reason
	}
	return "-"
}

func (o *Outcome) read(r *canon.Reader) {
	o.Intent = r.Uint(r.Line("intent", 1)[0], MaxSize)
	o.Job = message.JobID(r.Hex(r.Line("job", 1)[0], 32))
	for r.Peek() == "item" && len(o.Items) < MaxItems {
		o.Items = append(o.Items, readItem(r))
	}
	if r.Err() == nil && len(o.Items) == 0 {
		r.Failf("an outcome has 1 to %d item lines", MaxItems)
	}
}

func readItem(r *canon.Reader) ItemResult {
	f := r.Line("item", 2)
	it := ItemResult{State: State(f[0])}
	switch it.State {
	case Signed:
		it.Signature = readBytes(r, f[1], MaxSignature)
	case Withheld:
		it.Hash = readHash(r, f[1])
	case Failed, NotStarted:
		it.Reason = readToken(r, f[1])
	case Denied, TimedOut, Unknown:
		if f[1] != "-" {
			r.Failf("item %s has no value", it.State)
		}
	default:
		r.Failf("item state %q is unknown to this version", f[0])
	}
	return it
}
