package pcsc

// Backend is a source of readers. Its methods may be called from several
// goroutines.
type Backend interface {
	// Readers lists reader names: non-empty, without NUL, stable while the
	// reader stays, and not used by another registered backend.
	Readers() []string

	// Connect powers on the card in the reader. It returns within
	// [ConnectLimit]; [ErrNoSmartcard] means that there is none.
	Connect(reader string) (Card, error)
}

// Card is one insertion of one card, from power-on to removal or Close. It
// never acts on a card inserted later: once the card is gone, every method
// fails. Calls do not overlap. Any error ends the insertion: the caller will
// only Close it.
type Card interface {
	// Transmit exchanges a command for a response of at least two bytes. It
	// returns within [ExchangeLimit], and at once with [ErrRemovedCard] when
	// the card goes. It keeps no copy of apdu.
	Transmit(apdu []byte) ([]byte, error)
	// Reset is a warm reset: verified PINs are forgotten.
	Reset() error
	// Close powers the card off and lets go of it. It is called once.
	Close() error
}
