package cli

import (
	"fmt"
	"os"
	"path/filepath"

	"touchmark/tpm/anchor"
	"touchmark/tpm/ledger"
)

// ReadTrust reads the trust note from a trust directory or from the file
// itself.
func ReadTrust(path string) (*anchor.Trust, error) {
	if st, err := os.Stat(path); err == nil && st.IsDir() {
		path = filepath.Join(path, "trust")
	}
	text, err := ReadFile(path, anchor.MaxTrust)
	if err != nil {
		return nil, fmt.Errorf("cannot read what to trust: %w (give --trust the directory that the enrolment wrote)", err)
	}
	tr, err := anchor.OpenTrust(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a trust file: %w", path, err)
	}
	return tr, nil
}

// ReadProof reads a proof; it verifies nothing.
func ReadProof(path string) (*ledger.Proof, error) {
	text, err := ReadFile(path, ledger.MaxProof)
	if err != nil {
		return nil, err
	}
	p, err := ledger.ParseProof(text)
	if err != nil {
		return nil, fmt.Errorf("%s is not a proof: %w", path, err)
	}
	return p, nil
}

// ReadFile reads a whole file of at most limit bytes.
func ReadFile(path string, limit int64) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() || st.Size() > limit {
		return nil, fmt.Errorf("%s is not a file of at most %d bytes", path, limit)
	}
	return os.ReadFile(path)
}
