package swtpm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// StartCertified is Start with a TPM that has EK certificates in its memory, as
// one that a maker sells: made by swtpm_setup, issued by swtpm_localca with the
// authority in the directory roots, which the first one makes.
func StartCertified(t testing.TB, roots string) *Server {
	t.Helper()
	state := t.TempDir()
	if err := manufacture(state, roots); err != nil {
		t.Fatal(err)
	}
	return startIn(t, state)
}

// manufacture makes a TPM's state with certificates in it.
func manufacture(state, roots string) error {
	files := map[string]string{
		"ca.conf":    fmt.Sprintf("statedir = %[1]s\nsigningkey = %[1]s/signkey.pem\nissuercert = %[1]s/issuercert.pem\ncertserial = %[1]s/certserial\n", roots),
		"ca.options": "--platform-manufacturer Touchmark\n--platform-version 1\n--platform-model test\n",
	}
	localca, err := exec.LookPath("swtpm_localca")
	if err != nil {
		return fmt.Errorf("%w: run make setup", err)
	}
	setup, err := exec.LookPath("swtpm_setup")
	if err != nil {
		return fmt.Errorf("%w: run make setup", err)
	}
	files["setup.conf"] = fmt.Sprintf("create_certs_tool = %s\ncreate_certs_tool_config = %[2]s/ca.conf\ncreate_certs_tool_options = %[2]s/ca.options\nactive_pcr_banks = sha256\n", localca, state)
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(state, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	out, err := exec.Command(setup, "--tpm2", "--tpmstate", state, "--create-ek-cert", "--config", filepath.Join(state, "setup.conf")).CombinedOutput()
	if err != nil {
		return fmt.Errorf("swtpm_setup: %w\n%s", err, out)
	}
	return nil
}
