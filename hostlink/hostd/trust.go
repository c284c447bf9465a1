package hostd

import (
	"bytes"
	"fmt"
	"slices"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/verify"
)

// outdatedText is for whoever asks for a signature that nobody here could verify.
const outdatedText = "the administrators brought a new key of the log, and the trust file does not name it: get its next version from them (touchmark-audit trust check says whether it follows) and put it into the place of this one"

// outdated reports whether the log has a key that the trust file does not name,
// after looking whether there is a new file. It looks whether or not one is needed:
// what administrators publish of a certificate is to be known here too, and a file
// that was passed over would keep the one behind it from being the next.
func (d *Daemon) outdated() bool {
	d.renew()
	return d.mirror.Outdated()
}

// recall withdraws what was asked for before this host knew that it could not
// verify it, and is not armed yet.
func (d *Daemon) recall() {
	if len(d.jobs) == 0 || !d.outdated() {
		return
	}
	for _, j := range slices.Clone(d.jobs) {
		d.withdraw(j, api.Fail(api.BadInput, "%s", outdatedText))
	}
}

// renew takes the trust file's next version, if that lies in its place by now
// and is signed as the present one demands. What is pinned by hand is read when
// the daemon starts.
func (d *Daemon) renew() {
	if d.o.Renew == nil {
		return
	}
	text, err := d.o.Renew()
	if err != nil {
		d.log.Error().Err(err).Msg("trust file")
		return
	}
	if bytes.Equal(text, d.trustText) {
		return // looked at before
	}
	d.trustText = text
	if tr, err := verify.ParseTrust(text); err == nil && tr.Hash() == d.o.Trust.Hash() {
		return // the one in use
	}
	tr, err := d.o.Trust.Next(text)
	if err != nil {
		d.log.Error().Err(err).Msg("the trust file that lies there now does not follow the one in use")
		return
	}
	d.log.Warn().Uint64("version", tr.Version).Bool("by_recovery_keys", d.o.Trust.Recovers(text)).Msg("the next trust file is in use")
	d.o.Trust = tr
	d.mirror.Retrust(tr)
}

// standing says what is to be known of a key beside its fingerprint, empty if
// nothing is: what the trust file says, or that the administrators ordered its
// revocation and the trust file does not say so yet.
func (d *Daemon) standing(c *certificate.Certificate) string {
	if entry, ordered := d.mirror.Revoked(c.Key.Public); ordered && !c.Revoked {
		return fmt.Sprintf("ordered to be REVOKED (entry %d); the trust file does not say so: get its next version from the administrators", entry)
	}
	return c.Standing(d.loop.Clock())
}
