//go:build linux && !pcscd && !emulated

package pcsc

// Mode says how this build reaches cards: "in-process",
// "in-process+emulated" or "pcscd".
const Mode = "in-process"
