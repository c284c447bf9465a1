//go:build emulated

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"touchmark/tests/pivemu/vpcdtest"
	"touchmark/tests/world"
)

// token is an emulated token in a reader of a pcscd of its own, for the programs that sign with it directly.
type token struct {
	*vpcdtest.Box
	dir string
}

// toolRows compare the whole process of touchmark sign with programs that ask the same emulated token, touched at once,
// for a bare signature of the same file: no display, no log, no OpenPGP.
func (b *bench) toolRows() (rows []Row, err error) {
	t, err := b.newToken()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	module, err := opensc()
	if err != nil {
		return nil, err
	}
	piv := []string{"yubico-piv-tool", "-a", "verify-pin", "-P", world.PIN, "--sign", "-s", "9c", "-A", "ECCP256", "-H", "SHA256", "-i", b.small, "-o", "sig"}
	pkcs11 := []string{"pkcs11-tool", "--module", module, "--login", "--login-type", "user", "--pin", world.PIN, "--sign", "--id", "02",
		"-m", "ECDSA-SHA256", "-i", b.small, "-o", "sig"}
	for _, c := range []struct {
		name string
		peer []string
	}{{"sign_small_vs_piv_tool", piv}, {"sign_small_vs_pkcs11", pkcs11}} {
		row, err := compare(c.name, c.peer[0]+", same token, 100 KiB", 0.5, b.size.small, b.sign(b.small), stopwatch(func() error { return t.run(b, c.peer...) }))
		if err != nil {
			return nil, err
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// newToken makes the token with a P-256 key and a certificate, which OpenSC wants to see, in slot 9c.
func (b *bench) newToken() (t *token, err error) {
	dir := filepath.Join(filepath.Dir(b.small), "token")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return nil, err
	}
	// The older firmware's management key is one that yubico-piv-tool 2.2 knows; signatures are the same.
	box, err := vpcdtest.Open(b.ctx, vpcdtest.Options{Dir: dir, Profile: "5.4.3", Touch: "auto"})
	if err != nil {
		return nil, err
	}
	t = &token{box, dir}
	for _, argv := range [][]string{
		{"openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", "key.pem"},
		{"openssl", "req", "-x509", "-key", "key.pem", "-subj", "/CN=bench", "-days", "2", "-out", "cert.pem"},
		{"yubico-piv-tool", "-a", "import-key", "-s", "9c", "--pin-policy=once", "--touch-policy=always", "-i", "key.pem"},
		{"yubico-piv-tool", "-a", "import-certificate", "-s", "9c", "-i", "cert.pem"},
	} {
		if err := t.run(b, argv...); err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	return t, nil
}

func (t *token) run(b *bench, argv ...string) error {
	cmd := exec.CommandContext(b.ctx, argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = t.dir, append(os.Environ(), t.Environ()...), &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%v: %w: %s", argv, err, out.String())
	}
	return nil
}

// opensc finds OpenSC's PKCS #11 module.
func opensc() (string, error) {
	for _, pattern := range []string{"/usr/lib/*/opensc-pkcs11.so", "/usr/lib*/opensc-pkcs11.so"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) > 0 {
			return found[0], err
		}
	}
	return "", errors.New("opensc-pkcs11.so is missing: run make setup")
}
