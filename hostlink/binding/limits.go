package binding

// MaxSecret bounds a file of secret keys, in bytes: a certificate that hundreds of
// people signed stays under it.
const MaxSecret = 4 << 20

// MaxRequest bounds a binding request: two keys and a signature, each below 2 KiB.
const MaxRequest = 8 << 10
