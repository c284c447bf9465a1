package aptclient

const (
	// maxName bounds the name, as nameForm does.
	maxName = 40

	// maxOwners bounds the keys that all must have signed: each is a person to reach
	// before the layout lapses.
	maxOwners = 16

	// maxRebuilders bounds the addresses, which the transport asks one after the other
	// for each package.
	maxRebuilders = 64

	// maxAddress bounds an address in bytes.
	maxAddress = 1000
)
