package reply

import (
	"fmt"
	"strings"
	"time"

	"touchmark/appliance/sigformat"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/message"
)

// hashIDs are OpenPGP's numbers (RFC 9580 §9.5).
var hashIDs = map[message.Alg]int{message.SHA256: 8, message.SHA384: 9, message.SHA512: 10}

// Signed are the status lines of a signature that was made and written
// (doc/DETAILS: KEY_CONSIDERED, BEGIN_SIGNING, SIG_CREATED). git looks for the
// last with a line end before it.
func Signed(c *certificate.Certificate, f sigformat.Format, alg message.Alg, at time.Time) string {
	what, class := "D", 0
	if f.Text() {
		class = 1
	}
	if f.Cleartext() {
		what = "C"
	}
	fpr, hash := fingerprint(c), hashIDs[alg]
	return status("KEY_CONSIDERED %s 2", fpr) + status("BEGIN_SIGNING H%d", hash) +
		status("SIG_CREATED %s %d %d %02x %d %s", what, kinds[c.Key.Algorithm()].algo, hash, class, at.Unix(), fpr)
}

// Failure is why a signature was not made, by its code in libgpg-error; gpgme
// shows people its text.
type Failure int

const (
	Failed   Failure = 1  // General error
	TimedOut Failure = 62 // nobody armed it or touched the token
	Denied   Failure = 99 // the operator or the caller did not want it
)

// sourceGPG is how libgpg-error marks an error as gpg's own.
const sourceGPG = 2 << 24

// NotSigned is the status line of a call that made no signature.
func NotSigned(why Failure) string { return status("FAILURE sign %d", sourceGPG+int(why)) }

func status(format string, args ...any) string {
	return "[GNUPG:] " + fmt.Sprintf(format, args...) + "\n"
}

// Gpgconf changes what gpgconf --list-components prints so that gpgme, which
// asks it, finds the program gpg in place of the real one.
func Gpgconf(components, gpg string) string {
	var b strings.Builder
	for line := range strings.Lines(components) {
		if f := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3); len(f) == 3 && f[0] == "gpg" {
			line = strings.Join([]string{f[0], f[1], percent(gpg)}, ":") + "\n"
		}
		b.WriteString(line)
	}
	return b.String()
}

// percent escapes a path as gpgconf does (gpgconf(1), "percent escaped").
func percent(s string) string {
	return strings.NewReplacer("%", "%25", ":", "%3a", ",", "%2c", "\n", "%0a").Replace(s)
}
