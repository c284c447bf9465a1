// Package sigformat turns the hash state of a file into signature bytes that
// existing tools accept, and checks such bytes strictly.
//
// The appliance never sees the file. It gets a hash midstate (State), appends
// the OpenPGP trailer that it makes itself, finalises the hash and has the
// token sign that digest. So type, time, issuer and purpose of a signature are
// the appliance's, whatever the host asks for.
//
// # Profile
//
// OpenPGP version 4 (RFC 9580 §5.2.3), type 0x00 over a file's bytes and 0x01
// over canonical text, with P-256, P-384 (ECDSA), RSA of 2048, 3072 and 4096 bits
// (PKCS#1 v1.5) or Ed25519 keys and SHA-256, -384 or -512. Exactly one
// serialisation exists for given facts: nothing random, nothing critical, one
// order of subpackets, shortest lengths, old-format packet headers (the form
// every OpenPGP consumer reads, libalpm's hand-written parser included). The
// parsers accept exactly this profile and nothing else. docs/spec/signature.md
// draws the bytes.
//
// # Guarantees
//
// The package is pure: no files, clock, randomness or goroutines. Everything
// parsed is bounded (limits.go). Plan.Finish and Certificate verify what the
// token returned before they give it out. The byte formats are kept: later
// versions read what this version wrote.
package sigformat
