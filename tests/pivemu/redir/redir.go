// Package redir plugs an emulated token into a virtual machine: it is the device's
// side of QEMU's usb-redir (the usbredir protocol, version 0.7), so that a real
// kernel finds a USB device with the token's CCID interface.
//
// Every packet is a header (type u32, length u32, id u64, little-endian) and a
// body; the first of each side, hello, has an id of 32 bits. The host asks with
// an id and is answered with it. Of the protocol only what a CCID device is asked
// is here. To close the connection is to pull the device.
package redir

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"touchmark/tests/pivemu/usb"
)

// Types of packets.
const (
	hello              = 0
	deviceConnect      = 1
	reset              = 3
	interfaceInfo      = 4
	endpointInfo       = 5
	setConfiguration   = 6
	getConfiguration   = 7
	configurationState = 8
	setAlternate       = 9
	getAlternate       = 10
	alternateState     = 11
	startInterrupts    = 15
	stopInterrupts     = 16
	interruptState     = 17
	cancelData         = 21
	controlPacket      = 100
	bulkPacket         = 101
)

// Capabilities that both sides must have: a version in deviceConnect, packet
// sizes in endpointInfo, ids of 64 bits, bulk lengths of 32 bits.
const capabilities = 1<<1 | 1<<4 | 1<<5 | 1<<6

const (
	helloSize  = 64 + 4
	maxPacket  = 1 << 17 // a bulk transfer to a reader is at most 64 KiB
	maxReads   = 64      // transfers from the token that the host may wait for
	statusOK   = 0
	statusGone = 1 // cancelled
	statusHalt = 4
	endpoints  = 32
)

// Plug is a token in a virtual machine.
type Plug struct {
	conn    net.Conn
	token   *usb.Token
	ctx     context.Context
	cancel  context.CancelFunc
	work    sync.WaitGroup
	reading chan request
	err     error // why it ended; read after work is done

	mu      sync.Mutex // guards what follows, and writing
	pending map[uint64]context.CancelFunc
}

// request is a transfer from the token that the host waits for.
type request struct {
	ctx  context.Context
	id   uint64
	head []byte
	size int
}

// Connect plugs the token in, over a connection to QEMU.
func Connect(conn net.Conn, token *usb.Token) *Plug {
	p := &Plug{conn: conn, token: token, reading: make(chan request, maxReads), pending: map[uint64]context.CancelFunc{}}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.work.Go(func() {
		err := p.run()
		if p.ctx.Err() == nil { // else it was pulled
			p.err = err
		}
		p.cancel()
		_ = p.conn.Close()
	})
	p.work.Go(p.answerReads)
	return p
}

// Done is closed once the machine is gone, or has done something wrong.
func (p *Plug) Done() <-chan struct{} { return p.ctx.Done() }

// Pull unplugs the token. The error is what the machine did wrong until then.
func (p *Plug) Pull() error {
	p.cancel()
	_ = p.conn.Close()
	p.token.Unplug()
	p.work.Wait()
	return p.err
}

func (p *Plug) run() error {
	if err := p.greet(); err != nil {
		return err
	}
	for {
		head := make([]byte, 16)
		if _, err := io.ReadFull(p.conn, head); err != nil {
			return err
		}
		size := binary.LittleEndian.Uint32(head[4:])
		if size > maxPacket {
			return fmt.Errorf("redir: a packet of %d bytes", size)
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(p.conn, body); err != nil {
			return err
		}
		if err := p.packet(binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint64(head[8:]), body); err != nil {
			return err
		}
	}
}

// greet exchanges hellos and says what is plugged in.
func (p *Plug) greet() error {
	mine := make([]byte, 12+helloSize)
	binary.LittleEndian.PutUint32(mine[4:], helloSize)
	copy(mine[12:], "touchmark")
	binary.LittleEndian.PutUint32(mine[12+64:], capabilities)
	if _, err := p.conn.Write(mine); err != nil {
		return err
	}
	head := make([]byte, 12)
	if _, err := io.ReadFull(p.conn, head); err != nil {
		return err
	}
	if kind, size := binary.LittleEndian.Uint32(head), binary.LittleEndian.Uint32(head[4:]); kind != hello || size < helloSize || size > maxPacket {
		return fmt.Errorf("redir: it begins with packet %d of %d bytes", kind, size)
	}
	theirs := make([]byte, binary.LittleEndian.Uint32(head[4:]))
	if _, err := io.ReadFull(p.conn, theirs); err != nil {
		return err
	}
	if have := binary.LittleEndian.Uint32(theirs[64:]); have&capabilities != capabilities {
		return fmt.Errorf("redir: capabilities %x are not enough", have)
	}
	p.announce()
	return nil
}

// announce describes the one interface, its endpoints and the device.
func (p *Plug) announce() {
	interfaces := make([]byte, 4+4*endpoints)
	interfaces[0], interfaces[4+endpoints] = 1, 0x0b
	p.send(interfaceInfo, 0, interfaces)
	info := make([]byte, 3*endpoints+2*endpoints)
	for i := range endpoints {
		info[i] = 0xff // no such endpoint
	}
	for i, kind := range map[int]byte{0: 0, 16: 0, 2: 2, 18: 2, 19: 3} { // control, bulk, interrupt; 16 and up are from the device
		info[i] = kind
		binary.LittleEndian.PutUint16(info[3*endpoints+2*i:], 64)
	}
	info[endpoints+19] = 32 // ms between interrupts
	p.send(endpointInfo, 0, info)
	d := usb.Descriptors()
	const fullSpeed = 1
	p.send(deviceConnect, 0, bytes.Join([][]byte{{fullSpeed, 0, 0, 0}, d[8:14]}, nil)) // vendor, product, version
}

// send writes a packet; that the other side is gone shows when it is read.
func (p *Plug) send(kind uint32, id uint64, parts ...[]byte) {
	body := bytes.Join(parts, nil)
	head := binary.LittleEndian.AppendUint32(nil, kind)
	head = binary.LittleEndian.AppendUint32(head, uint32(len(body)))
	head = binary.LittleEndian.AppendUint64(head, id)
	p.mu.Lock()
	defer p.mu.Unlock()
	_, _ = p.conn.Write(append(head, body...))
}

func (p *Plug) packet(kind uint32, id uint64, body []byte) error {
	least := map[uint32]int{setConfiguration: 1, setAlternate: 2, getAlternate: 1, startInterrupts: 1, stopInterrupts: 1, controlPacket: 10, bulkPacket: 10}
	if len(body) < least[kind] {
		return fmt.Errorf("redir: packet %d of %d bytes", kind, len(body))
	}
	switch kind {
	case setConfiguration:
		p.send(configurationState, id, []byte{statusOK, body[0]})
	case getConfiguration:
		p.send(configurationState, id, []byte{statusOK, usb.Configuration})
	case setAlternate:
		p.send(alternateState, id, []byte{statusOK, body[0], body[1]})
	case getAlternate:
		p.send(alternateState, id, []byte{statusOK, body[0], 0})
	case startInterrupts, stopInterrupts: // the token never interrupts
		p.send(interruptState, id, []byte{statusOK, body[0]})
	case cancelData:
		p.forget(id)
	case controlPacket:
		p.control(id, body[:10])
	case bulkPacket:
		return p.bulk(id, body[:10], body[10:])
	}
	return nil // reset and the rest need no answer
}

// control answers a control transfer: descriptors and status are read, everything
// that is set is agreed to.
func (p *Plug) control(id uint64, head []byte) {
	request, kind, index := head[1], head[2], binary.LittleEndian.Uint16(head[4:])
	size := binary.LittleEndian.Uint16(head[8:])
	var data []byte
	ok := true
	if kind&0x80 != 0 {
		data, ok = describe(request, kind, byte(index>>8), byte(index))
	}
	data = data[:min(len(data), int(size))]
	head = bytes.Clone(head)
	head[3] = statusOK
	if !ok {
		head[3] = statusHalt
	}
	binary.LittleEndian.PutUint16(head[8:], uint16(len(data)))
	p.send(controlPacket, id, head, data)
}

// describe is what the device says to a request for data (USB 2.0 §9.4).
func describe(request, kind, what, index byte) ([]byte, bool) {
	d := usb.Descriptors()
	switch {
	case kind&0x7f != 0 && request != 0: // of an interface or a class
		return nil, false
	case request == 0: // status
		return []byte{0, 0}, true
	case request == 6 && what == 1:
		return d[:18], true
	case request == 6 && what == 2:
		return d[18:], true
	case request == 6 && what == 3:
		return usb.Text(index)
	}
	return nil, false
}

// bulk takes a transfer to the token, or a request for one from it.
func (p *Plug) bulk(id uint64, head, data []byte) error {
	if head[0]&0x80 == 0 {
		p.send(bulkPacket, id, bulkHead(head, statusOK, len(data)))
		return p.token.Out(data)
	}
	size := int(binary.LittleEndian.Uint16(head[2:])) | int(binary.LittleEndian.Uint16(head[8:]))<<16
	r := request{id: id, head: head, size: size}
	var cancel context.CancelFunc
	r.ctx, cancel = context.WithCancel(p.ctx)
	p.mu.Lock()
	p.pending[id] = cancel
	p.mu.Unlock()
	select {
	case p.reading <- r:
		return nil
	default:
		return errors.New("redir: too many requests at a time")
	}
}

// bulkHead is the header of an answer: endpoint, status, length, stream.
func bulkHead(head []byte, status byte, n int) []byte {
	h := bytes.Clone(head)
	h[1] = status
	binary.LittleEndian.PutUint16(h[2:], uint16(n))
	binary.LittleEndian.PutUint16(h[8:], uint16(n>>16))
	return h
}

func (p *Plug) forget(id uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if cancel, ok := p.pending[id]; ok {
		cancel()
		delete(p.pending, id)
	}
}

// answerReads gives the host what the token says, in the order of its requests. A
// message longer than a request is continued in the next.
func (p *Plug) answerReads() {
	var rest []byte
	for {
		var r request
		select {
		case r = <-p.reading:
		case <-p.ctx.Done():
			return
		}
		var err error
		if len(rest) == 0 {
			rest, err = p.token.In(r.ctx)
		}
		p.forget(r.id)
		if err != nil {
			p.send(bulkPacket, r.id, bulkHead(r.head, statusGone, 0))
			continue
		}
		part := rest[:min(len(rest), r.size)]
		rest = rest[len(part):]
		p.send(bulkPacket, r.id, bulkHead(r.head, statusOK, len(part)), part)
	}
}
