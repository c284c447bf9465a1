// Package trustfile follows the trust file while the host daemon runs: its next version is taken when it lies in the place of
// the one in use and is signed as that demands. What is pinned by hand is read when the daemon starts.
package trustfile

import (
	"fmt"
	"time"

	"github.com/rs/zerolog"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/hostd/mirror"
	"touchmark/hostlink/hostd/verify"
)

// Follower keeps what a mirror is checked by as new as the trust file.
type Follower struct {
	Mirror *mirror.Mirror
	Next   func() ([]byte, error) // as File's; nil: it never changes
	Log    zerolog.Logger
}

// OutdatedText is for whoever asks for a signature that nobody here could verify.
const OutdatedText = "the administrators brought a new key of the log, and the trust file does not name it: get its next version from them (touchmark-audit trust check says whether it follows) and put it into the place of this one"

// Outdated reports whether the log has a key that the trust file does not name,
// after looking whether there is a new file. It looks whether or not one is needed:
// what administrators publish of a certificate is to be known here too, and a file
// that was passed over would keep the one behind it from being the next.
func (f *Follower) Outdated() bool {
	f.renew()
	return f.Mirror.Outdated()
}

// renew takes the trust file's next version, if that lies in its place by now.
func (f *Follower) renew() {
	if f.Next == nil {
		return
	}
	text, err := f.Next()
	if err != nil {
		f.Log.Error().Err(err).Msg("trust file")
		return
	}
	if text == nil {
		return
	}
	used := f.Mirror.Pinned()
	if tr, err := verify.ParseTrust(text); err == nil && tr.Hash() == used.Hash() {
		return // the one in use
	}
	tr, err := used.Next(text)
	if err != nil {
		f.Log.Error().Err(err).Msg("the trust file that lies there now does not follow the one in use")
		return
	}
	f.Log.Warn().Uint64("version", tr.Version).Bool("by_recovery_keys", used.Recovers(text)).Msg("the next trust file is in use")
	f.Mirror.Retrust(tr)
}

// Standing says what is to be known of a key beside its fingerprint, empty if
// nothing is: what the trust file says, or that the administrators ordered its
// revocation and the trust file does not say so yet.
func (f *Follower) Standing(c *certificate.Certificate, now time.Time) string {
	if entry, ordered := f.Mirror.Revoked(c.Key.Public); ordered && !c.Revoked {
		return fmt.Sprintf("ordered to be REVOKED (entry %d); the trust file does not say so: get its next version from the administrators", entry)
	}
	return c.Standing(now)
}
