package pivemu

import "time"

const (
	// pinLength is the fixed length of a PIN or PUK in a command, padded with
	// ff (NIST SP 800-73-4 part 2 §2.4.3); minPIN is the shortest real one.
	pinLength = 8
	minPIN    = 6
	// defaultRetries is what a YubiKey leaves the factory with.
	defaultRetries = 3
	// maxShownRetries: the status word 63Cx has one nibble for the tries left.
	maxShownRetries = 15
	// maxObject is the largest data object a YubiKey 5 stores.
	maxObject = 3063
	// maxObjects bytes in all, as the YubiKey's own store is bounded.
	maxObjects = 51200
	// touchWindow is how long a YubiKey 5 blinks before it gives up.
	touchWindow = 15 * time.Second
	// touchCache is how long a touch counts under the policy "cached".
	touchCache = 15 * time.Second
	// maxStateFile bounds the state file: 25 RSA keys, all objects, in base64.
	maxStateFile = 1 << 20
)
