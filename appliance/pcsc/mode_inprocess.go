//go:build linux && !pcscd && !emulated

package pcsc

// Mode says how this build reaches cards: "in-process",
// "in-process+emulated" or "pcscd".
const Mode = "in-process"

// The board's token is on USB. Builds that may be given an emulated token never
// look there: a test must not find the developer's own.
func init() { process.register(USBBackend()) }
