package certificate

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"touchmark/hostlink/message"
)

// TestCertificationVectors compares the digests in signature.md §5.1 with the
// implementation, for the certificate that trust.md shows.
func TestCertificationVectors(t *testing.T) {
	trust, err := os.ReadFile("../../../../docs/spec/trust.md")
	if err != nil {
		t.Fatal(err)
	}
	der, err := base64.StdEncoding.DecodeString(string(regexp.MustCompile(`(?m)^cert (\S+)$`).FindSubmatch(trust)[1]))
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse(der)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../../../docs/spec/signature.md")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	x := Certification{Created: at, Origin: "touchmark.example/demo"}
	for i := range x.Order {
		x.Order[i] = byte(i)
	}
	expires, never, revoked := x, x, x
	expires.Expires = time.Date(2028, 6, 1, 0, 0, 0, 0, time.UTC)
	revoked.Revoke, revoked.Code = true, Retired
	for what, x := range map[string]Certification{"renewal, expires 2028-06-01T00:00:00Z": expires, "renewal, expires never": never, "revocation, code 3": revoked} {
		p, err := c.Plan(x)
		if err != nil {
			t.Fatal(err)
		}
		if p.Alg != message.SHA256 || !strings.Contains(string(page), "| "+what+" | `"+hex.EncodeToString(p.Digest)+"` |") {
			t.Errorf("signature.md lacks | %s | `%x` |", what, p.Digest)
		}
	}
}
