// Package ccid is the host's side of the CCID protocol: how a command APDU goes
// to a card reader on USB, and how the answer comes back (USB Device Class:
// Smart Card, "Specification for Integrated Circuit(s) Cards Interface Devices",
// revision 1.1; section numbers below are of that document).
//
// # Format
//
// Each message is one bulk transfer; numbers are little-endian:
//
//	+------+-----------+------+-----+-----------------------+------------+
//	| type | length u32| slot | seq | three bytes by type   | length …   |
//	+------+-----------+------+-----+-----------------------+------------+
//	to the reader:   62 power on, 63 power off, 6f command APDU (or a part)
//	from the reader: 80 data, 81 status; their three bytes are status, error, chain
//
// A status of "time extension" is no answer: the card is still busy, as a token
// is that waits for a touch. An APDU longer than a message is sent, and received,
// in parts (chain, §6.1.4 and §6.2.1).
//
// # Guarantees
//
// The package is pure: bytes go through a [Pipe], and time is the Pipe's affair.
// Whatever the device does, each call ends after a bounded number of transfers
// (limits.go) and memory: a message that is short, longer than it says or than
// was agreed, of another type, slot or form ends the exchange with an error, and
// so do extensions or empty transfers without end. The answer to an earlier
// command (another sequence number) is never taken for that to this one. Nothing
// is sent again: a command that may have reached the card is not repeated.
// Buffers that held a command are cleared.
package ccid
