package front

import (
	"bytes"
	"crypto/aes"
)

// manage authenticates with the factory management key.
func manage(r *readerEnd) {
	r.Helper()
	r.send("00870a9b047c028000")
	b, err := readMessage(r)
	if err != nil || len(b) != 22 {
		r.Fatalf("witness: %x, %v", b, err)
	}
	block, err := aes.NewCipher(bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7, 8}, 3))
	if err != nil {
		r.Fatal(err)
	}
	plain := make([]byte, 16)
	block.Decrypt(plain, b[4:20])
	body := append([]byte{0, 0x87, 0x0a, 0x9b, 0x26, 0x7c, 0x24, 0x80, 0x10}, plain...)
	body = append(append(body, 0x81, 0x10), make([]byte, 16)...)
	if err := writeMessage(r, body); err != nil {
		r.Fatal(err)
	}
	if b, err := readMessage(r); err != nil || !bytes.HasSuffix(b, []byte{0x90, 0}) {
		r.Fatalf("management key: %x, %v", b, err)
	}
}
