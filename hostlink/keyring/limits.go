package keyring

// maxName bounds the keyring's name, which stands in file names beside suffixes; nameForm says the same.
const maxName = 64
