package iso7816

// Handler executes one logical command and returns its data and status word.
// c.Data is only valid during the call.
type Handler func(c Command) ([]byte, SW)

// Channel turns physical APDUs into logical commands: it puts chained commands
// together, cuts long responses and serves GET RESPONSE. Owner: one goroutine.
// The zero value is ready.
type Channel struct {
	chain   []byte  // data of the links so far
	head    Command // header of the chain, valid while chaining
	inChain bool
	rest    []byte // response bytes not fetched yet
	restSW  SW
}

// Reset forgets a begun chain and an unfetched response (card reset).
func (ch *Channel) Reset() {
	clear(ch.chain)
	*ch = Channel{}
}

// Transmit handles one physical command APDU and returns the response APDU.
func (ch *Channel) Transmit(apdu []byte, h Handler) []byte {
	c, err := Parse(apdu)
	if err != nil {
		ch.Reset()
		return Respond(nil, WrongLength)
	}
	if sw := checkClass(c.CLA); sw != OK {
		ch.Reset()
		return Respond(nil, sw)
	}
	if c.INS == insGetResponse && c.CLA == interindustryClass {
		return ch.fetch(c)
	}
	if c.CLA&classChain != 0 {
		return Respond(nil, ch.link(c))
	}
	if ch.inChain {
		if sw := ch.link(c); sw != OK {
			return Respond(nil, sw)
		}
		c.Data = ch.chain
	}
	data, sw := h(c)
	ch.Reset()
	if len(data) > MaxResponse {
		return Respond(nil, Aborted)
	}
	return ch.deliver(c, data, sw)
}

func checkClass(cla byte) SW {
	switch cla &^ classChain {
	case interindustryClass:
		return OK
	case 1, 2, 3:
		return NoChannels
	}
	return UnknownClass
}

// link adds one link to the chain; a link of another command starts a new one.
func (ch *Channel) link(c Command) SW {
	same := ch.head.INS == c.INS && ch.head.P1 == c.P1 && ch.head.P2 == c.P2
	if !ch.inChain || !same {
		ch.Reset()
		ch.head, ch.inChain = c, true
	}
	if len(ch.chain)+len(c.Data) > MaxData {
		ch.Reset()
		return WrongLength
	}
	ch.chain = append(ch.chain, c.Data...)
	return OK
}

// window is how many response bytes one response APDU may carry. A command
// without Le still gets its answer, as every real PIV card does over T=1.
func window(c Command) int {
	switch {
	case c.Le > 0:
		return c.Le
	case c.Extended:
		return maxExtended
	}
	return maxShort
}

func (ch *Channel) deliver(c Command, data []byte, sw SW) []byte {
	n := window(c)
	if len(data) <= n {
		ch.rest = nil
		return Respond(data, sw)
	}
	ch.rest, ch.restSW = data[n:], sw
	return Respond(data[:n], moreData|SW(min(len(ch.rest), maxShort)&0xff))
}

func (ch *Channel) fetch(c Command) []byte {
	if len(ch.rest) == 0 {
		return Respond(nil, WrongData) // as Yubico's manual shows it of a real token
	}
	return ch.deliver(c, ch.rest, ch.restSW)
}

// Respond is a response APDU: data followed by the status word.
func Respond(data []byte, sw SW) []byte {
	out := make([]byte, 0, len(data)+2)
	return append(append(out, data...), byte(sw>>8), byte(sw))
}
