package device_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"
	"github.com/google/go-tpm/tpm2/transport/linuxudstpm"

	"touchmark/tests/swtpm"
	"touchmark/tpm/device"
	"touchmark/tpm/quote"
)

// TestHeadCannotBeRemoved tries every command that removes an NV index, with
// the empty authorizations of a TPM that nobody owns, and checks for which
// reason the TPM refuses.
func TestHeadCannotBeRemoved(t *testing.T) {
	s, tpm, _ := enrolled(t)
	must(t, tpm.ExtendHead(x1))
	raw, err := linuxudstpm.Open(strings.TrimPrefix(s.Direct(), "swtpm:"))
	must(t, err)
	defer raw.Close()
	const index = tpm2.TPMHandle(0x01800100)
	name := tpm2.TPM2BName{Buffer: quote.HeadName(uint32(index))}
	head := tpm2.NamedHandle{Handle: index, Name: name}
	by := func(h tpm2.TPMHandle) tpm2.AuthHandle {
		return tpm2.AuthHandle{Handle: h, Auth: tpm2.PasswordAuth(nil)}
	}
	special := func(auth tpm2.Session) error {
		return second(tpm2.NVUndefineSpaceSpecial{
			NVIndex:  tpm2.AuthHandle{Handle: index, Name: name, Auth: auth},
			Platform: by(tpm2.TPMRHPlatform),
		}.Execute(raw))
	}
	policy := func(callback tpm2.PolicyCallback) error {
		return special(tpm2.Policy(tpm2.TPMAlgSHA256, 16, callback))
	}
	attacks := []struct {
		what string
		err  error
		want tpm2.TPMRC
	}{
		{"UndefineSpace by the platform", second(tpm2.NVUndefineSpace{AuthHandle: by(tpm2.TPMRHPlatform), NVIndex: head}.Execute(raw)), tpm2.TPMRCAttributes},
		{"UndefineSpace by the owner", second(tpm2.NVUndefineSpace{AuthHandle: by(tpm2.TPMRHOwner), NVIndex: head}.Execute(raw)), tpm2.TPMRCAttributes},
		{"UndefineSpaceSpecial by password", special(tpm2.PasswordAuth(nil)), tpm2.TPMRCAuthType},
		{"UndefineSpaceSpecial by an empty policy session", policy(func(transport.TPM, tpm2.TPMISHPolicy, tpm2.TPM2BNonce) error { return nil }), tpm2.TPMRCAuthUnavailable},
		{"UndefineSpaceSpecial by PolicyCommandCode", policy(func(tpm transport.TPM, h tpm2.TPMISHPolicy, _ tpm2.TPM2BNonce) error {
			return second(tpm2.PolicyCommandCode{PolicySession: h, Code: tpm2.TPMCCNVUndefineSpaceSpecial}.Execute(tpm))
		}), tpm2.TPMRCAuthUnavailable},
		{"NV_Increment", second(tpm2.NVIncrement{AuthHandle: tpm2.AuthHandle{Handle: index, Name: name, Auth: tpm2.PasswordAuth(nil)}, NVIndex: head}.Execute(raw)), tpm2.TPMRCAttributes},
		{"defining it again", second(tpm2.NVDefineSpace{AuthHandle: by(tpm2.TPMRHPlatform),
			PublicInfo: tpm2.BytesAs2B[tpm2.TPMSNVPublic](quote.HeadPublic(uint32(index), false))}.Execute(raw)), tpm2.TPMRCNVDefined},
	}
	for _, a := range attacks {
		if !errors.Is(a.err, a.want) {
			t.Errorf("%s: %v, want %v", a.what, a.err, a.want)
		}
	}
	values(t, tpm, extend([32]byte{}, x1), [32]byte{})
}

// TestHeadCannotBeChanged tries, with the TPM's owner and platform on
// the attacker's side and the tools that everybody has, everything short of a
// soldering iron.
func TestHeadCannotBeRemovedOrChanged(t *testing.T) {
	s, tpm, _ := enrolled(t)
	must(t, tpm.ExtendHead(x1))
	want := extend([32]byte{}, x1)
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	must(t, os.WriteFile(data, make([]byte, 32), 0o600))
	session := filepath.Join(dir, "session")
	const index = "0x01800100"
	for _, attack := range [][]string{
		{"tpm2_nvwrite", "-C", index, "-i", data, index},
		{"tpm2_nvwrite", "-C", "o", "-i", data, index},
		{"tpm2_nvwrite", "-C", "p", "-i", data, index},
		{"tpm2_nvsetbits", "-C", index, "-i", "1", index},
		{"tpm2_nvwritelock", "-C", index, index},
		{"tpm2_nvreadlock", "-C", index, index},
		{"tpm2_nvextend", "-C", "o", "-i", data, index},
		{"tpm2_nvextend", "-C", "p", "-i", data, index},
		{"tpm2_changeauth", "-c", index, "-p", "session:" + session, "new"},
	} {
		if _, err := s.Tool("tpm2_startauthsession", "--policy-session", "-S", session); err != nil {
			t.Fatal(err)
		}
		out, err := s.Tool(attack[0], attack[1:]...)
		if err == nil || !strings.Contains(out, "tpm:") { // "tpm:" is the TPM's own refusal
			t.Errorf("%q: %v: %s", attack, err, out)
		}
		if _, err := s.Tool("tpm2_flushcontext", session); err != nil {
			t.Fatal(err)
		}
	}
	must(t, second(s.Tool("tpm2_nvwritelock", "-C", "o", "--global"))) // succeeds, and locks nothing
	values(t, tpm, want, [32]byte{})
	must(t, s.PowerCycle())
	must(t, tpm.ExtendHead(x2))
	values(t, tpm, extend(want, x2), [32]byte{})
}

// TestHeadSurvives the commands that change a hierarchy's seed or clear it,
// and their removal of the AK is noticed.
func TestHeadSurvives(t *testing.T) {
	for _, attack := range [][]string{
		{"tpm2_clear", "-c", "p"},
		{"tpm2_clear", "-c", "l"},
		{"tpm2_changeeps"},
		{"tpm2_changepps"},
	} {
		t.Run(attack[0]+attack[len(attack)-1], func(t *testing.T) {
			s, tpm, _ := enrolled(t)
			must(t, tpm.ExtendHead(x1))
			if _, err := s.Tool(attack[0], attack[1:]...); err != nil {
				t.Fatal(err)
			}
			values(t, tpm, extend([32]byte{}, x1), [32]byte{})
			must(t, tpm.ExtendHead(x2))
			_, err := tpm.AK()
			if gone := err != nil; gone != (attack[0] == "tpm2_clear") {
				t.Errorf("AK after %v: %v", attack, err)
			}
		})
	}
}

// TestHierarchyControl: hiding the objects is an outage until the next reset.
func TestHierarchyControl(t *testing.T) {
	s, tpm, _ := enrolled(t)
	must(t, tpm.ExtendHead(x1))
	must(t, second(s.Tool("tpm2_hierarchycontrol", "-C", "p", "phEnableNV", "clear")))
	must(t, second(s.Tool("tpm2_hierarchycontrol", "-C", "p", "shEnable", "clear")))
	if err := tpm.ExtendHead(x2); err == nil {
		t.Error("hidden HEAD extended")
	}
	if _, err := tpm.QuotePCR(x2); err == nil {
		t.Error("hidden AK signed")
	}
	must(t, s.PowerCycle())
	values(t, tpm, extend([32]byte{}, x1), [32]byte{})
	must(t, second(tpm.CertifyHead(x1)))
}

// TestHeadSurvivesPlatformAuth: PID 1 replaces the platform authorization at
// each start; nothing of ours needs it after enrolment.
func TestHeadSurvivesPlatformAuth(t *testing.T) {
	s, tpm, _ := enrolled(t)
	if _, err := s.Tool("tpm2_changeauth", "-c", "p", "discarded"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Tool("tpm2_changeauth", "-c", "o", "owner"); err != nil {
		t.Fatal(err)
	}
	must(t, tpm.ExtendHead(x1))
	must(t, tpm.ExtendPCR(x1))
	must(t, second(tpm.CertifyHead(x1)))
	must(t, second(tpm.QuotePCR(x1)))
}

// TestOtherObjects: two logs on one TPM under other handles.
func TestOtherObjects(t *testing.T) {
	s := swtpm.Start(t)
	first := open(t, s, device.Config{})
	other := open(t, s, device.Config{Head: 0x01800101, PCR: 15, AK: 0x81010011})
	enrol(t, first)
	enrol(t, other)
	must(t, first.ExtendHead(x1))
	must(t, other.ExtendHead(x2))
	must(t, other.ExtendPCR(x1))
	values(t, first, extend([32]byte{}, x1), [32]byte{})
	values(t, other, extend([32]byte{}, x2), extend([32]byte{}, x1))
}
