package ceremony

import (
	"errors"
	"fmt"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"touchmark/appliance/cli"
	"touchmark/appliance/enrol"
	"touchmark/appliance/enrol/sealed"
	"touchmark/tpm/ledgerstore/durable"
)

// keepFlags are what a ceremony with a token leaves to people: how long its
// certificate lasts, and secrets, each encrypted for who keeps it.
type keepFlags struct {
	expires              string
	auths                string // of enroll only
	manage, revocations  string
	recipients, auditors []string
}

func (f *keepFlags) add(c *cobra.Command, alsoSealed string) {
	flags := c.Flags()
	flags.StringVar(&f.expires, "expires", "never", "when the OpenPGP certificates expire: a time (2028-01-01T00:00:00Z), or never; an order renews them")
	flags.StringVar(&f.manage, "management-key-out", "", "directory: give each token a random management key and write it here, as management-SERIAL.age, encrypted to the --backup-recipient")
	flags.StringArrayVar(&f.recipients, "backup-recipient", nil, "administrator who can read what is encrypted, an age recipient, age1... (repeatable): "+alsoSealed+"management keys")
	flags.StringVar(&f.revocations, "revocation-out", "", "directory: have each key with an OpenPGP certificate revoke itself, by one more touch, and write that here, as revocation-FINGERPRINT.age, encrypted to the --revocation-recipient")
	flags.StringArrayVar(&f.auditors, "revocation-recipient", nil, "auditor who keeps that for the day on which the token is lost, an age recipient, age1... (repeatable)")
}

// kept is what the flags say.
type kept struct {
	expires     time.Time
	backup      []age.Recipient
	auths       *enrol.Authorizations
	manage      *enrol.Management
	revocations *enrol.Revocations
}

func (f *keepFlags) read() (k kept, err error) {
	if f.expires != "never" && f.expires != "" {
		if k.expires, err = time.Parse(time.RFC3339, f.expires); err != nil {
			return k, &cli.UsageError{Err: fmt.Errorf("--expires: %w", err)}
		}
		k.expires = k.expires.UTC()
	}
	if k.backup, err = sealed.ParseRecipients(f.recipients); err != nil {
		return k, &cli.UsageError{Err: err}
	}
	auditors, err := sealed.ParseRecipients(f.auditors)
	switch {
	case err != nil:
		return k, &cli.UsageError{Err: err}
	case f.manage != "" && len(k.backup) == 0:
		return k, &cli.UsageError{Err: errors.New("--management-key-out: a management key is written for somebody only: name a --backup-recipient")}
	case f.auths != "" && len(k.backup) == 0:
		return k, &cli.UsageError{Err: errors.New("--hierarchy-auth-out: an authorization is written for somebody only: name a --backup-recipient")}
	case (f.revocations == "") != (len(auditors) == 0):
		return k, &cli.UsageError{Err: errors.New("--revocation-out and --revocation-recipient go together")}
	}
	if f.auths != "" {
		k.auths, err = &enrol.Authorizations{Dir: f.auths, To: k.backup}, durable.MkdirAll(f.auths, 0o755)
	}
	if err == nil && f.manage != "" {
		k.manage, err = &enrol.Management{Dir: f.manage, To: k.backup}, durable.MkdirAll(f.manage, 0o755)
	}
	if err == nil && f.revocations != "" {
		k.revocations, err = &enrol.Revocations{Dir: f.revocations, To: auditors}, durable.MkdirAll(f.revocations, 0o755)
	}
	return k, err
}
