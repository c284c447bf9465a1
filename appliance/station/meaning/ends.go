package meaning

import (
	"fmt"
	"slices"
	"strings"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
)

// TouchAlarm is shown after a time-out: if the operator did touch, something else
// may have had the touch. No later request may wipe it off the display.
const TouchAlarm = "No touch was seen in time. If you DID touch, raise the alarm: the signature may exist."

// Ended says how a request ended; denied that the operator denied it after it was
// armed.
func Ended(items []ledger.ItemResult, denied bool) string {
	signed := 0
	for _, it := range items {
		switch {
		case it.State == ledger.Signed:
			signed++
		case it.State == ledger.Withheld && denied:
			return "Denied. A signature that still came back was destroyed."
		case it.State == ledger.Withheld:
			return "Not released: the TPM did not attest the commit, so the signature was destroyed. Have it asked for again."
		case it.State == ledger.Unknown:
			return "The board stopped meanwhile: a signature may exist."
		case denied || it.State == ledger.Denied:
			return "Denied."
		case signed == 0:
			return "Not signed: " + why(it) + "."
		default:
			return fmt.Sprintf("%d of %d signed, then: %s.", signed, len(items), why(it))
		}
	}
	return fmt.Sprintf("%d of %d signed.", signed, len(items))
}

// why is the reason that an item was not signed for, in words.
func why(it ledger.ItemResult) string {
	if it.State == ledger.TimedOut {
		return "no touch was seen in time"
	}
	return strings.ReplaceAll(it.Reason, "-", " ")
}

// Recalled is what the log alone tells of a request's end: not why a signature was
// withheld.
func Recalled(items []ledger.ItemResult) string {
	if slices.ContainsFunc(items, func(it ledger.ItemResult) bool { return it.State == ledger.Withheld }) {
		return "A signature came back and was destroyed."
	}
	return Ended(items, false)
}

// Certified says what the certificate is, now that the token did what was ordered.
func Certified(a *order.Cert, c *certificate.Certificate) string {
	switch {
	case a.Primary != nil:
		return fmt.Sprintf("Key %s agreed to be a subkey of %X. Its owner makes the rest, with the binding request from the log.", a.Key, a.Primary.Fingerprint())
	case c.Revoked:
		return "Key " + a.Key + " is revoked."
	case c.Expires.IsZero():
		return "The certificate of key " + a.Key + " is renewed: it never expires."
	}
	return "The certificate of key " + a.Key + " is renewed: it expires at " + stamp(c.Expires) + "."
}

// NotCertified says why it is what it was; denied as for Ended. Of a time-out
// TouchAlarm tells.
func NotCertified(end ledger.ItemResult, denied bool) string {
	text := ""
	if end.State != ledger.TimedOut {
		text = strings.Replace(Ended([]ledger.ItemResult{end}, denied)+" ", "Have it asked for again. ", "", 1)
	}
	return text + "The certificate is as it was, and the order is used up: to ask the token again takes another one."
}
