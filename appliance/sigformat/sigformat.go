// Package sigformat has the kinds of signatures that the board makes over files: what each
// is over (Format.Canonical), how it is planned, checked and put beside or into its file.
// How the bytes of each look is known in the packages below: openpgp, sshsig, envelope
// (in-toto, DSSE) and, here, raw.
//
// The appliance never sees the file. It gets a hash midstate (hashstate), appends
// the OpenPGP trailer that it makes itself, finalises the hash and has the
// token sign that digest (signing). So type, time, issuer and purpose of a signature are
// the appliance's, whatever the host asks for. docs/spec/signature.md draws the bytes.
//
// # Guarantees
//
// The package is pure: no files, clock, randomness or goroutines. Everything
// parsed is bounded. The byte formats are kept: later versions read what this version
// wrote.
package sigformat
