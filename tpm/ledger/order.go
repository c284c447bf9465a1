package ledger

import (
	"touchmark/hostlink/message"
	"touchmark/hostlink/message/canon"
	"touchmark/tpm/quote"
)

// Order is an administrative entry: a note by the administrators, as it stands
// in the log. A policy's text is package policy's, that of all others package
// order's. It has no effect before HEAD took the commit that ends with it.
type Order struct {
	Action   string            // the entry's kind: one of the administrative ones
	Mirrored bool              // a host held it durably before the commit
	Previous uint64            // newest administrative entry that HEAD took before, 0 for the genesis
	PCR      [32]byte          // resume only: PCR as read before the commit
	Certify  quote.Attestation // resume only: HEAD before the commit, quote.ResumeTag of the order
	Sign     message.Digest    // cert only: what the token signs
	Note     []byte
}

// administrative tells the kinds whose body is an *Order.
func administrative(kind string) bool {
	switch kind {
	case KindPolicy, KindKey, KindCert, KindTime, KindResume, KindNote, KindClose, KindImage:
		return true
	}
	return false
}

func (o *Order) kind() string { return o.Action }

// block is the key of the block that holds the note.
func (o *Order) block() (key string, limit int) {
	if o.Action == KindPolicy {
		return "policy", MaxNote
	}
	return "order", MaxOrder
}

func (o *Order) write(w *canon.Writer) {
	w.Line("mirrored", yesNo(o.Mirrored))
	w.Line("previous", canon.Uint(o.Previous))
	if o.Action == KindResume {
		w.Line("pcr", canon.Hex(o.PCR[:]))
		writeAttestation(w, "certify", o.Certify)
	}
	if o.Action == KindCert {
		w.Line("sign", o.Sign.String())
	}
	key, _ := o.block()
	w.Block(key, o.Note)
}

func (o *Order) read(r *canon.Reader) {
	o.Mirrored = readChoice(r, r.Line("mirrored", 1)[0], "yes", "no") == "yes"
	o.Previous = r.Uint(r.Line("previous", 1)[0], MaxSize)
	if o.Action == KindResume {
		o.PCR = readHash(r, r.Line("pcr", 1)[0])
		o.Certify = readAttestation(r, "certify")
	}
	if o.Action == KindCert {
		o.Sign = readDigest(r)
	}
	o.Note = r.Block(o.block())
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// Update says that another firmware starts now. It stands before the boot
// entry and waits for the next commit like any pending entry.
type Update struct {
	From, To string // versions
	Image    []byte // SHA-256 of the image that was started, nil if it is not known
}

func (u *Update) kind() string { return KindUpdate }

func (u *Update) write(w *canon.Writer) {
	w.Line("from", u.From)
	w.Line("to", u.To)
	image := "-"
	if u.Image != nil {
		image = canon.Hex(u.Image)
	}
	w.Line("image", image)
}

func (u *Update) read(r *canon.Reader) {
	u.From = readName(r, r.Line("from", 1)[0])
	u.To = readName(r, r.Line("to", 1)[0])
	if f := r.Line("image", 1)[0]; f != "-" {
		u.Image = r.Hex(f, 32)
	}
	if r.Err() == nil && u.From == u.To {
		r.Failf("an update from %s to itself", u.From)
	}
}

// LogID names a log beyond doubt. The zero value names none.
type LogID struct {
	Origin  string
	Genesis [32]byte // leaf hash of entry 0
}

// WriteLogID appends "key ORIGIN HEX32", or "key - -" for none.
func WriteLogID(w *canon.Writer, key string, id LogID) {
	if id.Origin == "" {
		w.Line(key, "-", "-")
		return
	}
	w.Line(key, id.Origin, canon.Hex(id.Genesis[:]))
}

// ReadLogID reads what WriteLogID wrote.
func ReadLogID(r *canon.Reader, key string) (id LogID) {
	f := r.Line(key, 2)
	if f[0] == "-" && f[1] == "-" {
		return id
	}
	return LogID{Origin: checkOrigin(r, f[0]), Genesis: readHash(r, f[1])}
}
