package derived

import (
	"testing"

	"touchmark/tpm/ledger"
)

func TestMarkOf(t *testing.T) {
	for entry, want := range map[string]byte{
		ledger.Domain + "\nkind genesis\nindex 0\n":         1,
		ledger.Domain + "\nkind boot\nindex 1\n":            2,
		ledger.Domain + "\nkind close\nindex 1\n":           9,
		ledger.Domain + "\nkind intent\nindex 2\n":          0,
		ledger.Domain + "\nkind outcome\nindex 2\n":         0,
		ledger.Domain + "\nkind attest\nindex 2\n":          0,
		ledger.Domain + "\nkind boot":                       0,
		ledger.Domain + "\nkind \n":                         0,
		"touchmark/entry/v2\nkind boot\n":                   0,
		ledger.Domain + "\nreason kind\nkind boot\nindex 1": 0,
		"": 0,
	} {
		if got := markOf([]byte(entry)); got != want {
			t.Errorf("%q: %d, want %d", entry, got, want)
		}
	}
}
