package sealed

// maxSecret bounds a secret in bytes: a log key is an origin of 128 bytes and some
// sixty more.
const maxSecret = 1 << 10

// maxFile bounds a file: an age header of some recipients and a secret.
const maxFile = 64 << 10
