package mirror

import (
	"errors"
	"testing"

	"touchmark/appliance/sigformat/openpgp/certificate"
	"touchmark/hostlink/hostd/logtest"
	"touchmark/tpm/ledger"
	"touchmark/tpm/ledger/order"
	"touchmark/tpm/ledger/tokenkey/tokenkeytest"
)

// spareTable is the policy's table of the key that tokenkeytest makes.
const spareTable = "[[key]]\nname = \"spare\"\nslot = \"9a\"\nfamily = \"openpgp-data\"\nalgorithm = \"p256\"\n[[key]]"

// TestATokenJoins: a key of a further token that the log names and the trust file
// does not makes that outdated, from the commit of the order on and over restarts,
// until its next version is here.
func TestATokenJoins(t *testing.T) {
	s := newScene(t)
	spare := tokenkeytest.New(tokenkeytest.Spec{})
	policy := s.Decree(ledger.KindPolicy, 0, s.NextPolicy("[[key]]", spareTable))
	s.Commit()
	s.give()
	s.Attest()
	i := s.Decree(ledger.KindKey, policy, s.Order(&order.Key{Token: &spare.Record}, s.Admin))
	if s.m.Outdated() {
		t.Fatal("outdated before anything is proven")
	}
	s.Commit()
	s.give()
	if !s.m.Outdated() || s.m.Ordered(s.m.law.taken[1].ID).Index != i {
		t.Fatal("the order is not in force")
	}
	s.reopen()
	if !s.m.Outdated() {
		t.Fatal("after a restart the trust file is good again")
	}
	next := *s.m.trust
	cert := logtest.Must(certificate.Parse(spare.Record.Cert))
	next.Keys = append(next.Keys[:1:1], cert)
	s.m.Retrust(&next)
	if s.m.Outdated() {
		t.Error("the next trust file names it")
	}
}

// TestATokenThatMayNotJoin: an entry that no honest board writes is a contradiction.
func TestATokenThatMayNotJoin(t *testing.T) {
	for name, c := range map[string]struct {
		record ledger.TokenKey
		twice  bool
	}{
		"in no policy":              {tokenkeytest.New(tokenkeytest.Spec{Name: "other"}).Record, false},
		"twice":                     {tokenkeytest.New(tokenkeytest.Spec{}).Record, true},
		"another key's certificate": {stolen(), false},
	} {
		s := newScene(t)
		newest := s.Decree(ledger.KindPolicy, 0, s.NextPolicy("[[key]]", spareTable))
		s.Commit()
		s.give()
		s.Attest()
		if c.twice {
			newest = s.Decree(ledger.KindKey, newest, s.Order(&order.Key{Token: &c.record}, s.Admin))
			s.Commit()
			s.give()
			s.Attest()
		}
		s.Decree(ledger.KindKey, newest, s.Order(&order.Key{Token: &c.record}, s.Admin))
		s.Commit()
		var broken *Evidence
		if err := s.try(); !errors.As(err, &broken) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func stolen() ledger.TokenKey {
	k := tokenkeytest.New(tokenkeytest.Spec{}).Record
	k.Cert = tokenkeytest.New(tokenkeytest.Spec{}).Record.Cert
	return k
}
