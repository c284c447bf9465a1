package piv

import "time"

const (
	// touchFloor separates the two meanings of status 6982 when the token
	// says that the PIN is not verified (any more): sooner, the PIN was
	// missing; later, the touch was. A refusal takes milliseconds, a YubiKey
	// waits 15 s for a touch.
	touchFloor = 5 * time.Second

	// minPIN and maxPIN: PIN and PUK lengths in bytes (NIST SP 800-73-4
	// part 2, §2.4.3; YubiKeys take PUKs as short as PINs).
	minPIN = 6
	maxPIN = 8

	// managementKeySize is that of AES-192 and of 3DES, the kinds a YubiKey
	// is shipped with.
	managementKeySize = 24

	// maxCandidates bounds the readers tried for a token.
	maxCandidates = 16

	// maxMessage bounds what an Ed25519 key signs that is no digest: a text that
	// names one.
	maxMessage = 512
)
