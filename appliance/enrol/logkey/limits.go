package logkey

// maxKey bounds the file of a key: an origin of 128 bytes and some sixty more.
const maxKey = 1 << 10

// maxBackup bounds the backup: an age header of some recipients and a key of
// about a hundred bytes.
const maxBackup = 64 << 10
