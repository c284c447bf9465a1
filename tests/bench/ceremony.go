//go:build emulated

package main

import (
	"context"
	"crypto"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/operator"
	"touchmark/appliance/pcsc"
	"touchmark/appliance/piv"
	"touchmark/appliance/sigformat"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/message"
	"touchmark/tests/world"
	"touchmark/tpm/device"
)

// answerLimit bounds one ceremony of the bench; one takes some milliseconds.
const answerLimit = time.Minute

// ceremonyRows measure a ceremony without the client's process: what the operator and the host wait for, and the whole
// against its parts.
func (b *bench) ceremonyRows() (rows []Row, err error) {
	p, err := newParts(b.ctx, b.w.Bin, filepath.Join(filepath.Dir(b.small), "parts"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	whole := stopwatch(func() error { return b.ask().end() })
	versus, err := compare("ceremony_vs_parts", "its syncs, TPM commands, mirror ack, PIV signature", 1.3, b.size.small, whole, p.run)
	if err != nil {
		return nil, err
	}
	prompt, touch, err := b.waits()
	return []Row{versus, prompt, touch}, err
}

// asking is a client's request that is under way; its hash state was made before.
type asking struct {
	sess  *client.Session
	asked time.Time
	done  chan error
}

// ask asks for a signature as touchmark sign does.
func (b *bench) ask() *asking {
	r := &asking{done: make(chan error, 1)}
	h := sigformat.NewHasher(message.SHA256)
	nonce := make([]byte, api.KeySize)
	_, _ = rand.Read(nonce) // never fails
	_, _ = h.Write(nonce)   // never fails
	st := h.State()
	req := &api.Request{Op: api.OpSign, Timeout: answerLimit.Milliseconds(), Key: nonce, Items: []api.Item{{
		Name: "small", Format: sigformat.OpenPGPBinary.Name, Digest: message.Digest{Alg: message.SHA256, Sum: st.Digest()}.String(), Size: st.Count(), State: st.Bytes(),
	}}}
	sess, err := client.Open(b.w.Socket)
	if err != nil {
		r.done <- err
		return r
	}
	r.sess, r.asked = sess, time.Now()
	go func() {
		resp, err := sess.Wait(req)
		if err == nil {
			err = client.Said(resp)
		}
		r.done <- err
	}()
	return r
}

// end waits for the signature.
func (r *asking) end() error {
	err := <-r.done
	if r.sess != nil {
		r.sess.Taken()
		r.sess.Close()
	}
	return err
}

// waits measure what people wait for: from the client's request to the job on display, and from the touch to the
// client's signature. Both count more than the board's own time: daemon and link in both directions, and the daemon's
// verification and file syncs.
func (b *bench) waits() (prompt, touch Row, err error) {
	if err := b.w.Token.Mode(b.ctx, "ask"); err != nil {
		return prompt, touch, err
	}
	defer func() { err = errors.Join(err, b.w.Token.Mode(b.ctx, "auto")) }()
	var shown, released []float64
	for i := range b.size.small + 1 {
		mark := b.w.Views().Mark()
		r := b.ask()
		_, _, err := b.w.Views().Wait(b.ctx, mark, func(v operator.View) bool { return v.Ask == operator.AskArm })
		toShow := time.Since(r.asked)
		if err = errors.Join(err, b.w.Token.Await(b.ctx)); err != nil {
			return prompt, touch, err
		}
		touched := time.Now()
		if err := errors.Join(b.w.Token.Do(b.ctx, "touch"), r.end()); err != nil {
			return prompt, touch, err
		}
		if i > 0 {
			shown, released = append(shown, ms(toShow)), append(released, ms(time.Since(touched)))
		}
	}
	return summary("prompt_ms", "ms", 5, shown), summary("after_touch_ms", "ms", 3, released), nil
}

// parts is the hardware of a board that is not running: its TPM, its token and its disk, and a cable.
type parts struct {
	w     *world.World
	tpm   *device.TPM
	token *piv.Token
	pub   crypto.PublicKey
	files []*os.File
	host  *os.File // the host's end of the cable …
	board *os.File // … and the board's
}

// What a ceremony with one item writes and sends, about: the intent with its plan, then its attestation and outcome, each
// synced on the board's disk and on the host's before anything goes on; the host acknowledges the first.
const (
	recordSize = 1200
	ackSize    = 60
)

func newParts(ctx context.Context, bin, dir string) (p *parts, err error) {
	p = &parts{}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.close())
		}
	}()
	if p.w, err = world.New(ctx, world.Config{Dir: dir, Bin: bin, Touch: "auto"}); err != nil {
		return nil, err
	}
	if err := p.w.Enrol(ctx); err != nil {
		return nil, err
	}
	if p.tpm, err = device.Open(p.w.TPM.Spec()); err != nil {
		return nil, err
	}
	pcsc.Register(pcsc.DialBackend(p.w.TokenSocket()))
	if p.token, err = piv.Open(piv.Options{}); err != nil {
		return nil, err
	}
	if err := p.token.VerifyPIN([]byte(world.PIN)); err != nil {
		return nil, err
	}
	if p.pub, err = p.token.Public("9c"); err != nil {
		return nil, err
	}
	return p, p.open()
}

// open opens the files to be synced and both ends of the cable, which echoes nothing by itself: the host's end
// acknowledges each record.
func (p *parts) open() (err error) {
	for _, dir := range []string{p.w.Board, p.w.Host} {
		f, err := os.Create(filepath.Join(dir, "part"))
		if err != nil {
			return err
		}
		p.files = append(p.files, f)
	}
	if p.host, err = openTTY(p.w.Cable.HostPath()); err != nil {
		return err
	}
	if p.board, err = openTTY(p.w.Cable.BoardPath()); err != nil {
		return err
	}
	go func() {
		record, ack := make([]byte, recordSize), make([]byte, ackSize)
		for {
			if _, err := io.ReadFull(p.host, record); err != nil {
				return // closed
			}
			if _, err := p.host.Write(ack); err != nil {
				return
			}
		}
	}()
	return nil
}

func openTTY(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, err
	}
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	t.Iflag, t.Oflag, t.Lflag = 0, 0, 0 // raw (termios(3))
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return f, errors.Join(unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t), unix.SetNonblock(int(f.Fd()), true))
}

// run does every part once, one after another, and tells what they took together.
func (p *parts) run() (total time.Duration, err error) {
	var x [32]byte
	_, _ = rand.Read(x[:]) // never fails
	attest := func(_ any, err error) error { return err }
	for name, part := range map[string]func() error{
		"board's syncs": func() error { return p.sync(p.files[0]) },
		"host's syncs":  func() error { return p.sync(p.files[1]) },
		"mirror ack":    p.acknowledged,
		"NV_Extend":     func() error { return p.tpm.ExtendHead(x) },
		"PCR_Extend":    func() error { return p.tpm.ExtendPCR(x) },
		"NV_Certify":    func() error { return attest(p.tpm.CertifyHead(x)) },
		"Quote":         func() error { return attest(p.tpm.QuotePCR(x)) },
		"PIV signature": func() error { return attest(p.token.Sign("9c", p.pub, x[:], crypto.SHA256)) },
	} {
		d, err := stopwatch(part)()
		if err != nil {
			return 0, fmt.Errorf("%s: %w", name, err)
		}
		total += d
	}
	return total, nil
}

// sync appends two records, each brought to the disk.
func (p *parts) sync(f *os.File) error {
	for range 2 {
		if _, err := f.Write(make([]byte, recordSize)); err != nil {
			return err
		}
		if err := unix.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
	}
	return nil
}

// acknowledged sends a record down the cable and waits for the host's word.
func (p *parts) acknowledged() error {
	if _, err := p.board.Write(make([]byte, recordSize)); err != nil {
		return err
	}
	_, err := io.ReadFull(p.board, make([]byte, ackSize))
	return err
}

func (p *parts) close() (err error) {
	for _, f := range append(p.files, p.host, p.board) {
		if f != nil {
			err = errors.Join(err, f.Close())
		}
	}
	if p.token != nil {
		err = errors.Join(err, p.token.Close())
	}
	if p.tpm != nil {
		err = errors.Join(err, p.tpm.Close())
	}
	if p.w != nil {
		err = errors.Join(err, p.w.Close())
	}
	return err
}
