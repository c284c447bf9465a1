package sealed

// maxSecret bounds a secret in bytes: a revocation certificate in armour, of at most
// 8 KiB.
const maxSecret = 16 << 10

// maxFile bounds a file: an age header of some recipients and a secret.
const maxFile = 64 << 10
