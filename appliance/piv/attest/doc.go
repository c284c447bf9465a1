// Package attest parses and verifies the attestation of a YubiKey PIV key:
// a certificate over the key's public half, made by the token itself, that says
// which token generated it and under which PIN and touch policy it acts.
// (https://developers.yubico.com/PIV/Introduction/PIV_attestation.html)
//
//	Yubico root → [Yubico intermediates] → device certificate (slot f9) → attestation of a slot's key
//
// The package is pure: no device, clock or cgo, so that the auditor uses it
// too. Validity dates are not compared with the present: the board may not know
// it, and an attestation states a fact of the past.
//
// What is verified: the device certificate signed the attestation, and the
// attestation carries firmware and policy in Yubico's extensions. Whether the
// device certificate is Yubico's is the field Emulated, not an error: a test
// token's attestation is well-formed, only not to be believed. What is not:
// firmware with a known weakness (EUCLEAK, below 5.7) attests like any other.
package attest
