package logkey

// maxKey bounds the file of a key: an origin of 128 bytes and some sixty more.
const maxKey = 1 << 10
