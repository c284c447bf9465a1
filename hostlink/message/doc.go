// Package message defines the texts that hosts, approvers and the board
// exchange, and how they are signed.
//
// All texts are canonical (see package canon): one encoding per value, fixed
// order, unknown keys refused, the first line names the kind. Signed texts
// are C2SP signed notes with Ed25519 keys; OpenNote refuses unknown,
// duplicate, surplus and malformed signatures instead of ignoring them.
//
// A job is identified by SHA-256 of its approval text (JobOf). Parse reads
// any message of the link and is the first thing that hostile bytes meet
// after the session layer: it is pure, bounded by limits.go and fuzzed, and
// parse then Marshal gives the same bytes.
//
// The byte-exact definition is docs/spec/message.md. A kind never changes its
// meaning: a new shape gets a new version in its domain line.
package message
