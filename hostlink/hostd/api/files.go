package api

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// TrustFile is the trust text's name in a trust directory (docs/spec/trust.md).
const TrustFile = "trust"

// Bounds of what is read from disk, generous against what is written.
const (
	maxTrust = 64 << 10
	maxKey   = 4 << 10
)

// ReadTrust reads the trust text from a trust directory or from the file
// itself.
func ReadTrust(path string) ([]byte, error) { return ReadSmall(TrustPath(path), maxTrust) }

// TrustPath is where the trust text lies: at path, or in it if that is a trust directory.
func TrustPath(path string) string {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		return filepath.Join(path, TrustFile)
	}
	return path
}

// ReadKey reads a private note key, as "touchmark key new" writes it.
func ReadKey(path string) (string, error) {
	b, err := ReadSmall(path, maxKey)
	if err != nil {
		return "", err
	}
	key := strings.TrimSpace(string(b))
	if _, err := note.NewSigner(key); err != nil {
		return "", fmt.Errorf("%s is not a private note key: make one with \"touchmark key new\"", path)
	}
	return key, nil
}

// ReadSmall reads a regular file of at most max bytes.
func ReadSmall(path string, max int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, Plain(err)
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, Plain(err)
	}
	defer func() { _ = f.Close() }() // read only: nothing can be lost
	b, err := io.ReadAll(io.LimitReader(f, max+1))
	if err != nil {
		return nil, Plain(err)
	}
	if int64(len(b)) > max {
		return nil, fmt.Errorf("%s is longer than %d bytes: not the right file", path, max)
	}
	return b, nil
}

// Plain says file errors the way people do: path first, then what is wrong.
func Plain(err error) error {
	var pe *fs.PathError
	switch {
	case !errors.As(err, &pe):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return &said{fmt.Sprintf("%s does not exist: check the path", pe.Path), err}
	case errors.Is(err, fs.ErrPermission):
		return &said{fmt.Sprintf("%s: permission denied: check owner and mode", pe.Path), err}
	}
	return &said{fmt.Sprintf("%s: %v", pe.Path, pe.Err), err}
}

// said keeps the cause of an error that was put into other words.
type said struct {
	text  string
	cause error
}

func (s *said) Error() string { return s.text }
func (s *said) Unwrap() error { return s.cause }
