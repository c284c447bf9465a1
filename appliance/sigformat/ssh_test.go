package sigformat_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/hashstate"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/appliance/sigformat/sshsig"
	"touchmark/hostlink/message"
)

func formatOf(tb testing.TB, name string) sigformat.Format {
	tb.Helper()
	f, ok := sigformat.FormatOf(name)
	if !ok {
		tb.Fatalf("there is no format %s", name)
	}
	return f
}

// feeding runs a program with this on its standard input.
func feeding(t *testing.T, input []byte, argv ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath(argv[0])
	if err != nil {
		t.Fatalf("%v: run \"make setup\"", err)
	}
	cmd := exec.CommandContext(t.Context(), path, argv[1:]...)
	cmd.Stdin = bytes.NewReader(input)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestSSHInTools: ssh-keygen accepts what every key type signs over either hash,
// in the namespace of the format and in no other.
func TestSSHInTools(t *testing.T) {
	git := formatOf(t, "sshsig-git")
	for _, k := range tokens() {
		for _, alg := range []message.Alg{message.SHA256, message.SHA512} {
			t.Run(k.Algorithm()+"/"+string(alg), func(t *testing.T) {
				b := &bench{t: t, dir: t.TempDir()}
				signers := b.write("signers", []byte("packager namespaces=\"git,file\" "+sshsig.Public(k.Key)+"\n"))
				doc := []byte("tree 0123\n\na commit\n")
				sig := b.write("sig", k.sealed(t, git, sigtest.StateOf(alg, doc)))
				verify := func(doc []byte, namespace string) (string, error) {
					return feeding(t, doc, "ssh-keygen", "-Y", "verify", "-f", signers, "-I", "packager", "-n", namespace, "-s", sig)
				}
				if out, err := verify(doc, "git"); err != nil || !strings.Contains(out, `Good "git" signature`) {
					t.Fatalf("ssh-keygen: %v\n%s", err, out)
				}
				if out, err := verify(append(doc, '!'), "git"); err == nil {
					t.Fatalf("ssh-keygen accepts changed data:\n%s", out)
				}
				if out, err := verify(doc, "file"); err == nil {
					t.Fatalf("ssh-keygen accepts another namespace:\n%s", out)
				}
			})
		}
	}
}

// TestRawInTools: openssl accepts what RSA and ECDSA keys sign.
func TestRawInTools(t *testing.T) {
	boot := formatOf(t, "raw-boot")
	each(t, func(t *testing.T, k *token, alg message.Alg) {
		if boot.Signs(k.Algorithm(), alg) != nil {
			return
		}
		der, err := x509.MarshalPKIXPublicKey(k.Public)
		if err != nil {
			t.Fatal(err)
		}
		b := &bench{t: t, dir: t.TempDir()}
		key := b.write("key.pem", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		doc := []byte("boot.img")
		sig, file, bad := b.write("sig", k.sealed(t, boot, sigtest.StateOf(alg, doc))), b.write("file", doc), b.write("bad", append(doc, '!'))
		if out, err := b.run("openssl", "dgst", "-"+string(alg), "-verify", key, "-signature", sig, file); err != nil {
			t.Fatalf("openssl: %v\n%s", err, out)
		}
		if out, err := b.run("openssl", "dgst", "-"+string(alg), "-verify", key, "-signature", sig, bad); err == nil {
			t.Fatalf("openssl accepts changed data:\n%s", out)
		}
	})
}

// others are formats that are made of the file's digest alone.
func others(t *testing.T) []sigformat.Format {
	return []sigformat.Format{formatOf(t, "sshsig-git"), formatOf(t, "sshsig-file@example.org"), formatOf(t, "raw-boot")}
}

// TestEveryBitOfOthers: no changed bit, cut or added byte of an SSH or raw
// signature verifies, with the file or with its digest alone.
func TestEveryBitOfOthers(t *testing.T) {
	for _, k := range tokens() {
		for _, f := range append(others(t), sigformat.InTotoNative, formatOf(t, "dsse-in-toto")) {
			goes := slices.DeleteFunc(slices.Clone(sigtest.Algs), func(a message.Alg) bool { return f.Signs(k.Algorithm(), a) != nil })
			if len(goes) == 0 {
				continue
			}
			s := sigtest.StateOf(goes[len(goes)-1], []byte("some data"))
			sig := k.sealed(t, f, s)
			p, err := f.Plan(k.Key, s, sigtest.When, sigtest.Origin, message.JobID{})
			if err != nil {
				t.Fatal(err)
			}
			file, sign := message.Digest{Alg: s.Alg(), Sum: s.Digest()}, message.Digest{Alg: p.Alg, Sum: p.Digest}
			if err := f.Check(k.Key, file, sign, sig, sigtest.When, sigtest.Origin, message.JobID{}); err != nil || p.Verify(sig) != nil {
				t.Fatalf("%s, %s: %v, %v", f.Name, k.Algorithm(), err, p.Verify(sig))
			}
			for i := 0; i < len(sig)*8; i += 29 {
				bad := bytes.Clone(sig)
				bad[i/8] ^= 1 << (i % 8)
				if p.Verify(bad) == nil {
					t.Fatalf("%s, %s: bit %d of byte %d changed, and it verifies", f.Name, k.Algorithm(), i%8, i/8)
				}
			}
			for n := 0; n < len(sig); n += 31 {
				if p.Verify(sig[:n]) == nil {
					t.Fatalf("%s: cut to %d bytes, and it verifies", f.Name, n)
				}
			}
			if p.Verify(append(bytes.Clone(sig), '\n')) == nil {
				t.Fatalf("%s: a byte behind it, and it verifies", f.Name)
			}
			sign.Sum = bytes.Repeat([]byte{1}, len(sign.Sum))
			if f.Check(k.Key, file, sign, sig, sigtest.When, sigtest.Origin, message.JobID{}) == nil || f.CheckSign(k.Key, file, sign) == nil {
				t.Fatalf("%s: another digest was announced, and nobody minds", f.Name)
			}
		}
	}
}

// TestNoFormatPassesAsAnother is the attack across protocols: a signature that a
// key made in one format, over the same file, is none in any other.
func TestNoFormatPassesAsAnother(t *testing.T) {
	all := append(slices.Clone(openPGP), others(t)...)
	for _, k := range tokens() {
		s := sigtest.StateOf(message.SHA512, []byte("a\r\n"))
		file := message.Digest{Alg: s.Alg(), Sum: s.Digest()}
		for _, made := range all {
			if made.Signs(k.Algorithm(), s.Alg()) != nil {
				continue
			}
			sig := k.sealed(t, made, s)
			for _, f := range all {
				if f == made || f.Family == made.Family && f.Family == sigformat.FamilyOpenPGP && f.Text() == made.Text() || f.Signs(k.Algorithm(), s.Alg()) != nil {
					continue
				}
				p, err := f.Plan(k.Key, s, sigtest.When, sigtest.Origin, message.JobID{1, 2, 3})
				if err != nil {
					t.Fatal(err)
				}
				if err := f.Check(k.Key, file, message.Digest{Alg: p.Alg, Sum: p.Digest}, sig, sigtest.When, sigtest.Origin, message.JobID{1, 2, 3}); err == nil || p.Verify(sig) == nil {
					t.Errorf("%s: a signature of %s is taken for one of %s", k.Algorithm(), made.Name, f.Name)
				}
			}
		}
	}
}

// TestFormatNames: labels are in the names, and only labels that are.
func TestFormatNames(t *testing.T) {
	for name, family := range map[string]string{"sshsig-git": sigformat.FamilySSH, "sshsig-a.b_c": sigformat.FamilySSH, "sshsig-file@example.org": sigformat.FamilySSH, "raw-boot": sigformat.FamilyRaw, "openpgp-text": sigformat.FamilyOpenPGP} {
		if f, ok := sigformat.FormatOf(name); !ok || f.Family != family || f.Name != name {
			t.Errorf("%s: %+v", name, f)
		}
	}
	for _, name := range []string{"", "sshsig", "sshsig-", "raw-", "raw-A", "raw-boot@example.org", "dsse-a@b", "sshsig-A@example.org", "@sshsig-a", "sshsig-a b", "sshsig-a\n", "openpgp-", "raw", "cms", "sshsig-" + strings.Repeat("a", 64)} {
		if f, ok := sigformat.FormatOf(name); ok {
			t.Errorf("%q is taken for %+v", name, f)
		}
	}
	boot, git := formatOf(t, "raw-boot"), formatOf(t, "sshsig-git")
	if boot.Signs("ed25519", message.SHA512) == nil || git.Signs("p256", message.SHA384) == nil || git.Signs("p521", message.SHA512) == nil || git.Signs("p384", message.SHA256) != nil {
		t.Error("a key or hash that does not go with a format does, or the reverse")
	}
}

// TestSSHKeys: ssh-keygen reads the public keys, and the types are those it names.
func TestSSHKeys(t *testing.T) {
	for i, want := range []string{"ECDSA", "RSA", "ECDSA", "ED25519", "RSA", "RSA"} {
		k := tokens()[i]
		b := &bench{t: t, dir: t.TempDir()}
		out, err := feeding(t, nil, "ssh-keygen", "-l", "-f", b.write("key.pub", []byte(sshsig.Public(k.Key)+"\n")))
		if err != nil || !strings.Contains(out, "("+want+")") {
			t.Errorf("%s: %v\n%s", k.Algorithm(), err, out)
		}
		if _, ed := k.Public.(ed25519.PublicKey); ed != (want == "ED25519") {
			t.Error("the keys are in another order")
		}
	}
}

func FuzzOtherFamilies(f *testing.F) {
	git, _ := sigformat.FormatOf("sshsig-git")
	boot, _ := sigformat.FormatOf("raw-boot")
	s := sigtest.StateOf(message.SHA512, []byte("some data"))
	for _, k := range tokens()[:4] {
		for _, format := range []sigformat.Format{git, boot} {
			if format.Signs(k.Algorithm(), s.Alg()) == nil {
				f.Add(k.sealed(f, format, s))
			}
		}
	}
	f.Fuzz(func(t *testing.T, sig []byte) {
		for _, k := range tokens()[:4] {
			p, err := git.Plan(k.Key, s, sigtest.When, sigtest.Origin, message.JobID{})
			if err != nil {
				t.Fatal(err)
			}
			// What is taken for a signature is one in every byte, made over this file.
			if p.Verify(sig) == nil && !sigformat.Made(k.Key, sig, []hashstate.State{s}) {
				t.Fatal("a signature that the key has not made")
			}
			if sigformat.Made(k.Key, sig, []hashstate.State{sigtest.StateOf(message.SHA512, []byte("other data"))}) {
				t.Fatal("a signature over another file")
			}
		}
	})
}
