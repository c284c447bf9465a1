//go:build emulated

package main

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"touchmark/appliance/operator"
	"touchmark/appliance/pcsc"
	"touchmark/appliance/piv"
	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/client"
	"touchmark/hostlink/message"
	"touchmark/hostlink/serialport"
	"touchmark/hostlink/session"
	"touchmark/tests/world"
	"touchmark/tpm/device"
	"touchmark/tpm/ledgerstore/durable"
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
	var demanded []float64
	whole := stopwatch(func() error { return b.ask().end() })
	versus, err := compare("ceremony_vs_parts", "its syncs, TPM commands, mirror ack, PIV signature", 1.3, b.size.small, whole, func() (time.Duration, error) {
		d, err := p.run(b.ctx)
		if err != nil {
			return 0, err
		}
		more, err := p.also(b.ctx)
		demanded = append(demanded, ms(d+more))
		return d, err
	})
	if err != nil {
		return nil, err
	}
	all := against(versus, versus.PeerName+"; request and result on the line, signatures made and verified", demanded[1:]) // as compare: without the first
	all.Name = "ceremony_vs_demanded"
	floor, err := b.floor(p)
	if err != nil {
		return nil, err
	}
	waits, err := b.waits()
	return append([]Row{versus, all, floor}, waits...), err
}

// floor is how fast touchmark sign could be whose daemon, line and board cost nothing between the parts: a process of ours
// that starts and ends, the parts one after another, its two files on the disk. It is to be read beside sign_small_vs_gpg.
func (b *bench) floor(p *parts) (row Row, err error) {
	g, err := newSoftGPG(b.ctx)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, g.Close()) }()
	ours := func() (time.Duration, error) {
		start, err := stopwatch(func() error { return b.w.Command(b.ctx, "", "touchmark", "--version").Run() })()
		if err != nil {
			return 0, err
		}
		parts, err := p.run(b.ctx)
		if err != nil {
			return 0, err
		}
		more, err := p.also(b.ctx)
		if err != nil {
			return 0, err
		}
		files, err := stopwatch(b.written)()
		return start + parts + more + files, err
	}
	return compare("sign_floor_vs_gpg", "gpg --detach-sign, software P-256, 100 KiB", 1, b.size.small, ours, stopwatch(func() error { return g.Sign(b.ctx, b.small) }))
}

// written writes a signature and its proof as the client does.
func (b *bench) written() error {
	var errs [2]error
	var both sync.WaitGroup
	for i, size := range []int{signatureSize, proofSize} {
		both.Go(func() {
			errs[i] = durable.WriteFile(fmt.Sprintf("%s.floor-%d", b.small, i), make([]byte, size), 0o644)
		})
	}
	both.Wait()
	return errors.Join(errs[:]...)
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
	h := hashstate.New(message.SHA256)
	nonce := make([]byte, api.KeySize)
	_, _ = rand.Read(nonce) // never fails
	_, _ = h.Write(nonce)   // never fails
	st := h.State()
	req := &api.Request{Op: api.OpSign, Timeout: answerLimit.Milliseconds(), Key: nonce, Items: []api.Item{{
		Name: "small", Format: sigformat.OpenPGPBinary.Name, Digest: message.Digest{Alg: message.SHA256, Sum: st.Digest()}.String(), Size: st.Count(), State: st.Bytes(),
	}}}
	sess, err := client.Daemon{Socket: b.w.Socket}.Open()
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

// waits measure what people wait for. All count more than the board's own time: prompt_ms, until the job is on display,
// begins with the client's request and has daemon and line in it; after_touch_ms, from the token's answer to the release,
// begins before the touch and ends when the display says that it is done, which is just after the signature went to the
// line; client_after_touch_ms ends when the client has it, behind the line, the daemon's verification and its disk.
func (b *bench) waits() (rows []Row, err error) {
	if err := b.w.Token.Mode(b.ctx, "ask"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.w.Token.Mode(b.ctx, "auto")) }()
	var prompt, release, client []float64
	for i := range b.size.small + 1 {
		w, err := b.waited()
		if err != nil {
			return nil, err
		}
		if i > 0 {
			prompt, release, client = append(prompt, ms(w.prompt)), append(release, ms(w.release)), append(client, ms(w.client))
		}
	}
	return []Row{summary("prompt_ms", "ms", 5, prompt), summary("after_touch_ms", "ms", 3, release), summary("client_after_touch_ms", "ms", 10, client)}, nil
}

// reaction is how long the operator of these rows takes to touch a token that blinks: less than people do.
const reaction = 50 * time.Millisecond

// wait is what one request was waited for.
type wait struct{ prompt, release, client time.Duration }

func (b *bench) waited() (w wait, err error) {
	mark := b.w.Views().Mark()
	r := b.ask()
	_, mark, err = b.w.Views().Wait(b.ctx, mark, func(v operator.View) bool { return v.Ask == operator.AskArm })
	w.prompt = time.Since(r.asked)
	if err = errors.Join(err, b.w.Token.Await(b.ctx), sleep(b.ctx, reaction)); err != nil {
		return w, err
	}
	touched := time.Now()
	if err := b.w.Token.Do(b.ctx, "touch"); err != nil {
		return w, err
	}
	ended := make(chan time.Duration, 1)
	go func() {
		err = r.end()
		ended <- time.Since(touched)
	}()
	_, _, verr := b.w.Views().Wait(b.ctx, mark, func(v operator.View) bool { return v.Event == "done" })
	w.release = time.Since(touched)
	w.client = <-ended
	return w, errors.Join(err, verr)
}

// parts is the hardware of a board that is not running: its TPM, its token and its disk, and a cable.
type parts struct {
	w     *world.World
	tpm   *device.TPM
	token *piv.Token
	pub   crypto.PublicKey
	files []*os.File
	host  *serialport.Endpoint // the host's end of the cable …
	board *serialport.Endpoint // … and the board's
	sid   uint32               // of the session between them

	own    ed25519.PrivateKey // of a host, or a log
	other  *ecdsa.PrivateKey  // of a TPM, or a token
	digest [32]byte
	signed []byte // digest, by other
}

// What a ceremony with one item writes and sends, about: the intent with its plan, then its attestation and outcome, each
// synced on the board's disk and on the host's before anything goes on; the host acknowledges the first.
// The client writes the signature and its proof.
const (
	recordSize     = 1200
	ackSize        = 60
	submissionSize = 300
	signatureSize  = 240
	proofSize      = 1800
)

func newParts(ctx context.Context, bin, dir string) (p *parts, err error) {
	p = &parts{own: ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))}
	if p.other, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	if p.signed, err = ecdsa.SignASN1(rand.Reader, p.other, p.digest[:]); err != nil {
		return nil, err
	}
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
	return p, p.open(ctx)
}

// open opens the files to be synced and a session over the cable, on which the host acknowledges each record.
func (p *parts) open(ctx context.Context) error {
	for _, dir := range []string{p.w.Board, p.w.Host} {
		f, err := os.Create(filepath.Join(dir, "part"))
		if err != nil {
			return err
		}
		p.files = append(p.files, f)
	}
	p.host = serialport.Start(ctx, serialport.EndpointConfig{Path: p.w.Cable.HostPath(), Initiator: true})
	p.board = serialport.Start(ctx, serialport.EndpointConfig{Path: p.w.Cable.BoardPath()})
	go func() {
		for e := range p.host.Events() {
			if e.Kind == serialport.Message {
				_ = p.host.Send(ctx, e.SID, session.Interactive, make([]byte, ackSize)) // without it the other end says so
			}
		}
	}()
	up, err := await(ctx, p.board, serialport.Up)
	p.sid = up.SID
	return err
}

// run does the parts once, one after another, that wait for disk, TPM, token and line, and tells what they took together.
func (p *parts) run(ctx context.Context) (time.Duration, error) {
	var x [32]byte
	_, _ = rand.Read(x[:]) // never fails
	attest := func(_ any, err error) error { return err }
	return inTurn(map[string]func() error{
		"board's syncs": func() error { return p.sync(p.files[0]) },
		"host's syncs":  func() error { return p.sync(p.files[1]) },
		"mirror ack":    func() error { return p.acknowledged(ctx) },
		"NV_Extend":     func() error { return p.tpm.ExtendHead(x) },
		"PCR_Extend":    func() error { return p.tpm.ExtendPCR(x) },
		"NV_Certify":    func() error { return attest(p.tpm.CertifyHead(x)) },
		"Quote":         func() error { return attest(p.tpm.QuotePCR(x)) },
		"PIV signature": func() error { return attest(p.token.Sign("9c", p.pub, x[:], crypto.SHA256)) },
	})
}

// also does what a ceremony cannot do without besides: the request comes up the line and the result goes down, and nobody
// believes anybody. The host signs its submission and the board verifies that; the board signs the checkpoint and the host
// verifies that; both verify what the TPM certified, the board the quote too, and the host the token's signature.
func (p *parts) also(ctx context.Context) (time.Duration, error) {
	text := make([]byte, submissionSize)
	return inTurn(map[string]func() error{
		"request and result": func() error { return p.acknowledged(ctx) },
		"Ed25519, twice": func() error {
			for range 2 {
				if !ed25519.Verify(p.own.Public().(ed25519.PublicKey), text, ed25519.Sign(p.own, text)) {
					return errors.New("it does not verify")
				}
			}
			return nil
		},
		"ECDSA, four times": func() error {
			for range 4 {
				if !ecdsa.VerifyASN1(&p.other.PublicKey, p.digest[:], p.signed) {
					return errors.New("it does not verify")
				}
			}
			return nil
		},
	})
}

// inTurn does parts one after another and tells what they took together.
func inTurn(parts map[string]func() error) (total time.Duration, err error) {
	for name, part := range parts {
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

// acknowledged sends a record over the cable and waits for the host's word, in the line's own protocol: bare bytes would
// be acknowledged by nobody.
func (p *parts) acknowledged(ctx context.Context) error {
	if err := p.board.Send(ctx, p.sid, session.Interactive, make([]byte, recordSize)); err != nil {
		return err
	}
	_, err := await(ctx, p.board, serialport.Message)
	return err
}

func (p *parts) close() (err error) {
	for _, f := range p.files {
		err = errors.Join(err, f.Close())
	}
	for _, e := range []*serialport.Endpoint{p.host, p.board} {
		if e != nil {
			e.Close()
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
