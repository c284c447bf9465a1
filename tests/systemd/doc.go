// Package systemd runs the daemon's unit as packages have it under a systemd of its own, process 1 of a system of Debian's
// packages in namespaces, hardening and all; the board is the emulated one, outside, at the other end of a pty. Make
// systemd fetches that system; it takes root.
package systemd
