package keys

import (
	"errors"
	"strings"
	"testing"
	"time"

	"touchmark/appliance/policy"
	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/appliance/station/past"
	"touchmark/hostlink/message"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// law has a key of each kind.
func law() *past.Law {
	return &past.Law{Keys: []past.Key{
		{Name: "revoked", Cert: &certificate.Certificate{Revoked: true}},
		{Name: "expired", Cert: &certificate.Certificate{Expires: now}},
		{Name: "prime", Cert: &certificate.Certificate{Expires: now.Add(time.Second)}},
		{Name: "second", Cert: &certificate.Certificate{}, Weak: "5.4.3"},
	}}
}

// The first key in force that the token holds signs; else the first in force is named, so
// that the operator knows which token to bring; else there is a reason.
func TestFor(t *testing.T) {
	for _, c := range []struct{ class, held, want, code string }{
		{"revoked expired prime second", "second", "second", ""},
		{"revoked expired prime second", "prime second", "prime", ""},
		{"revoked expired prime second", "revoked", "prime", ""},
		{"revoked expired", "revoked expired", "", message.CodeKeyRevoked},
		{"expired unknown", "expired", "", message.CodeKeyExpired},
		{"unknown", "prime", "", message.CodeKeyMissing},
	} {
		g := &policy.Grant{Class: "db"}
		for _, name := range strings.Fields(c.class) {
			g.Keys = append(g.Keys, policy.Key{Name: name})
		}
		k, err := For(law(), g, func(name string) bool { return strings.Contains(c.held, name) }, now)
		var r *policy.Refusal
		switch {
		case c.code == "" && (err != nil || k.Name != c.want):
			t.Errorf("%+v: %+v, %v", c, k, err)
		case c.code != "" && (!errors.As(err, &r) || r.Code != c.code):
			t.Errorf("%+v: %v", c, err)
		}
	}
}

func TestWarning(t *testing.T) {
	text := Warning(law(), now)
	for _, want := range []string{"key revoked was revoked", "key expired expired at 2026-11-23T12:00:00Z", "extract key second: firmware 5.4.3"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q lacks %q", text, want)
		}
	}
	if strings.Contains(text, "prime") {
		t.Errorf("%q", text)
	}
}
