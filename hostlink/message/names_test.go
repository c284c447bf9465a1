package message

import (
	"bytes"
	"crypto"
	"strings"
	"testing"
)

func TestValidName(t *testing.T) {
	for _, good := range []string{
		"demo.db.tar.gz", "a", "core/os/x86_64/core.db", ".SRCINFO", "_private", "gcc-c++-1:13.2~rc1-2-any.pkg.tar.zst",
		"refs/tags/v1.0@host", "a.b.c", "a/.hidden", "0", strings.Repeat("n", MaxName), "v1.0-", "a:b",
	} {
		if err := ValidName(good); err != nil {
			t.Errorf("refused %q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", " ", "a b", "-rf", "--output=x", "a/-rf", "/etc/passwd", "a/", "a//b", "..", "../a", "a/..", "a/../b", "a..b", ".", "./a", "a/./b",
		"~root/x", "~", "a/~b", "@file", "+x", ":/", "C:\\x", "a\\b", "a\x00", "a\n", "a\t", "a\x1b[0m", "a\x7f", "a'b", "a\"b", "a$b", "a`b", "a;b",
		"a|b", "a&b", "a*b", "a?b", "a[b", "a{b", "a<b", "a#b", "a%b", "a!b", "a=b", "a,b", "a(b",
		"d\u0435mo", "ｄemo", "demo\u200b", "demo\u202egz.bd", "\xff", "ä", strings.Repeat("n", MaxName+1), strings.Repeat("n", 1<<20),
	} {
		err := ValidName(bad)
		if err == nil {
			t.Errorf("accepted %q", bad)
		} else if len(err.Error()) > 300 || strings.ContainsAny(err.Error(), "\x00\x1b\x7f\n\u202e") {
			t.Errorf("poor error for %q: %q", bad, err)
		}
	}
}

// Half of a UTF-8 character is shown as the byte it is, not as the character of that number.
func TestValidNameShowsTheByte(t *testing.T) {
	err := ValidName("m\u00fcsli")
	if err == nil || !strings.Contains(err.Error(), `byte 2 ("\xc3")`) {
		t.Errorf("error: %v", err)
	}
}

func TestValidOrigin(t *testing.T) {
	for _, good := range []string{"touchmark.example/demo", "a", "a-b.c", "example.org/log/2026", "example.org/A_b~c.d-e", "0.0", strings.Repeat("a", MaxOrigin)} {
		if err := ValidOrigin(good); err != nil {
			t.Errorf("refused %q: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "a b", "a+b", "A.example", "a.", ".a", "a..b", "-a", "a-", "a/", "/a", "a//b", "a/..", "a/.", "a/b c", "a/b+c", "a@b", "a#b", "a:443", "http://a",
		"ä", "a/ä", "a\u00a0b", "a\n", "a/\x1b", strings.Repeat("a", MaxOrigin+1),
	} {
		if ValidOrigin(bad) == nil {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestValidToken(t *testing.T) {
	for _, good := range []string{"a", "pacman-db", "0", "a.b_c-d", strings.Repeat("a", MaxToken)} {
		if !ValidToken(good) {
			t.Errorf("refused %q", good)
		}
	}
	for _, bad := range []string{"", "-a", ".a", "_a", "A", "aB", "a b", "a/b", "ä", "a\x00", strings.Repeat("a", MaxToken+1)} {
		if ValidToken(bad) {
			t.Errorf("accepted %q", bad)
		}
	}
}

// A format is a token in which @ may stand too, but not first.
func TestValidFormat(t *testing.T) {
	for _, good := range []string{"openpgp-binary", "sshsig-file@example.org", "a@"} {
		if !ValidFormat(good) {
			t.Errorf("refused %q", good)
		}
	}
	for _, bad := range []string{"", "@a", "sshsig-a b", "sshsig-A@b", "sshsig-a@b/c", "a\x1b", strings.Repeat("a", MaxToken) + "@"} {
		if ValidFormat(bad) {
			t.Errorf("accepted %q", bad)
		}
	}
}

func TestDigests(t *testing.T) {
	for alg, size := range map[Alg]int{SHA256: 32, SHA512: 64} {
		if alg.Size() != size || alg.BlockSize() != alg.Hash().New().BlockSize() || alg.Hash().Size() != size || !alg.Valid() {
			t.Errorf("%s: sizes are wrong", alg)
		}
		d := digestOf(alg, "x")
		got, err := ParseDigest(d.String())
		if err != nil || !got.Equal(d) {
			t.Errorf("%s: %v, %v", alg, got, err)
		}
	}
	if digestOf(SHA256, "x").Equal(digestOf(SHA256, "y")) || digestOf(SHA256, "x").Equal(Digest{SHA512, digestOf(SHA256, "x").Sum}) {
		t.Error("different digests are equal")
	}
	if a := Alg("md5"); a.Valid() || a.Size() != 0 || a.BlockSize() != 0 || a.Hash() != crypto.Hash(0) {
		t.Error("md5 is an algorithm")
	}
	hex := strings.Repeat("0a", 32)
	for _, bad := range []string{"", ":", "sha256", "sha256:", hex, "md5:" + hex[:32], "sha256:" + hex + "0a", "sha256:" + strings.ToUpper(hex), "sha512:" + hex, "sha256:" + hex[:63] + "g", " sha256:" + hex, "sha256:\u0430" + hex[2:]} {
		if d, err := ParseDigest(bad); err == nil {
			t.Errorf("accepted %q as %v", bad, d)
		}
	}
	if d, err := ParseDigest("sha256:" + hex); err != nil || !bytes.Equal(d.Sum, bytes.Repeat([]byte{10}, 32)) {
		t.Errorf("%v, %v", d, err)
	}
}
