package iso7816

const (
	// MaxData bounds the data of one logical command after its chain is put
	// together. The largest real ones are an RSA-4096 import (5 × 259 bytes) and
	// a data object of 3063 bytes with its headers.
	MaxData = 4096
	// MaxCommand bounds one physical command: header, extended Lc, data, Le.
	MaxCommand = 4 + 3 + MaxData + 2
	// MaxResponse bounds one logical response; an Ed25519 or RSA answer is far
	// below, a data object with its header is the largest.
	MaxResponse = 4096
	// maxTagBytes bounds the bytes of one BER tag; PIV uses up to three.
	maxTagBytes = 3
	// maxLengthBytes bounds the bytes of one BER length after the first.
	maxLengthBytes = 2
)
