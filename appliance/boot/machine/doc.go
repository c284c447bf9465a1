// Package machine is what the board's first process does to the machine: it
// mounts, sets up the gadget and the kernel, gives device nodes to their users,
// finds sticks, feeds the watchdog, measures what was booted, starts and reaps
// processes, and ends the machine. What is decided of a start, package boot decides; here is
// only how each thing is done, and what is done without where it fails.
//
// There is no udev, no socket and no module: what is plugged in is found by
// looking. Nodes belong to root until Nodes.Look gives them away; sticks are
// mounted without devices, programs and set-user-ids.
package machine

// Users of the board's processes. No file names them: the image has no passwd.
const (
	CoreID = 1000 // touchmark-appliance: the data, the TPM, tokens
	LinkID = 1001 // touchmark-link: the line
)

// Places.
const (
	DataDir  = "/data"        // the data partition
	BoardDir = "/data/board"  // the appliance's directory on it
	StickDir = "/media/stick" // a stick, while one is plugged in
	RunDir   = "/run/touchmark"
	TPM      = "/dev/tpmrm0"
)
