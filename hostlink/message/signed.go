package message

import (
	"time"

	"touchmark/hostlink/message/canon"
)

// Hello opens a conversation: the host names the log it expects, the head it
// last verified and its time. It travels as a note signed by the host key.
type Hello struct {
	Origin   string
	Nonce    [16]byte // random; the board's attestation in Welcome binds it
	HostTime time.Time
	HeadSize uint64
	HeadRoot [32]byte
}

// Marshal gives the text to sign, nil if a field has no canonical form.
func (m *Hello) Marshal() []byte {
	w := canon.NewWriter(HelloDomain)
	w.Line("origin", m.Origin)
	w.Line("nonce", canon.Hex(m.Nonce[:]))
	w.Line("host-time", canon.Time(m.HostTime))
	w.Line("head", canon.Uint(m.HeadSize), canon.Hex(m.HeadRoot[:]))
	return w.Bytes()
}

// ParseHello reads a hello text.
func ParseHello(text []byte) (*Hello, error) { return whole(text, HelloDomain, readHello) }

func readHello(r *canon.Reader) *Hello {
	m := &Hello{Origin: readOrigin(r)}
	m.Nonce = [16]byte(r.Hex(r.Line("nonce", 1)[0], 16))
	m.HostTime = r.Time(r.Line("host-time", 1)[0])
	m.HeadSize, m.HeadRoot = readHead(r, "head")
	return m
}

// Cancel withdraws a job that is not armed yet. It travels as a note signed
// by the host key.
type Cancel struct {
	Origin   string
	Job      JobID
	HostTime time.Time
}

// Marshal gives the text to sign, nil if a field has no canonical form.
func (m *Cancel) Marshal() []byte {
	w := canon.NewWriter(CancelDomain)
	w.Line("origin", m.Origin)
	w.Line("job", m.Job.String())
	w.Line("host-time", canon.Time(m.HostTime))
	return w.Bytes()
}

// ParseCancel reads a cancel text.
func ParseCancel(text []byte) (*Cancel, error) { return whole(text, CancelDomain, readCancel) }

func readCancel(r *canon.Reader) *Cancel {
	m := &Cancel{Origin: readOrigin(r), Job: readJob(r, "job")}
	m.HostTime = r.Time(r.Line("host-time", 1)[0])
	return m
}

// HelloNote is a Hello as it came: the signature is not verified yet.
type HelloNote struct {
	Note  []byte
	Hello Hello // what Note says
}

// Marshal gives the note.
func (m *HelloNote) Marshal() []byte { return m.Note }

func parseHelloNote(b []byte) (any, error) {
	text, err := wireNoteText(b)
	if err != nil {
		return nil, err
	}
	h, err := ParseHello(text)
	if err != nil {
		return nil, err
	}
	return &HelloNote{Note: b, Hello: *h}, nil
}

// CancelNote is a Cancel as it came: the signature is not verified yet.
type CancelNote struct {
	Note   []byte
	Cancel Cancel // what Note says
}

// Marshal gives the note.
func (m *CancelNote) Marshal() []byte { return m.Note }

func parseCancelNote(b []byte) (any, error) {
	text, err := wireNoteText(b)
	if err != nil {
		return nil, err
	}
	c, err := ParseCancel(text)
	if err != nil {
		return nil, err
	}
	return &CancelNote{Note: b, Cancel: *c}, nil
}

func wireNoteText(b []byte) ([]byte, error) {
	if len(b) > MaxNote {
		return nil, noteErr(NoteTooLarge, "", "%d bytes, at most %d", len(b), MaxNote)
	}
	return NoteText(b)
}
