package keys

// maxInteger bounds an integer of a key in a layout, in bytes: RSA of 16384 bits.
const maxInteger = 2048
