package enrol

import (
	"context"
	"crypto/x509"

	"touchmark/appliance/enrol/genesis"
	"touchmark/appliance/enrol/stopped"
	"touchmark/tpm/ledger"
	"touchmark/tpm/quote"
)

// entry is the genesis entry, the same each time: all of it is written down by now.
func (c *ceremony) entry() (*ledger.Genesis, error) {
	cfg := c.TPM.Config()
	g := &ledger.Genesis{
		Origin: c.policy.Origin, Predecessor: c.state.Predecessor, LogKey: c.log.Public,
		AK: c.state.AK, Creation: c.state.Creation, EK: c.state.EK,
		Head: cfg.Head, HeadName: quote.HeadName(cfg.Head), Base: c.state.Base, PCR: cfg.PCR,
		Nonce: c.Nonce, Policy: c.PolicyNote,
	}
	for _, k := range c.keys {
		record, err := k.record()
		if err != nil {
			return nil, err
		}
		g.Keys = append(g.Keys, *record)
	}
	return g, nil
}

// record is what the log says of a key.
func (k *key) record() (*ledger.TokenKey, error) {
	spki, err := x509.MarshalPKIXPublicKey(k.made.Public)
	if err != nil {
		return nil, err
	}
	f := k.made.Facts
	return &ledger.TokenKey{
		Name: k.Name, Slot: k.Slot, Family: k.Family, Algorithm: k.Algorithm, Fingerprint: k.pgp.Fingerprint(), SPKI: spki,
		Token:       ledger.TokenInfo{Serial: f.Serial, Firmware: f.Firmware, Emulated: f.Emulated},
		Attestation: k.state.Attestation, Cert: k.state.Cert,
	}, nil
}

// commit has disk and TPM take the genesis entry.
func (c *ceremony) commit(context.Context) error {
	g, err := c.entry()
	if err != nil {
		return err
	}
	if c.trust, err = genesis.Commit(stopped.LogDir(c.Dir), c.TPM, g, c.Now); err != nil {
		return err
	}
	c.trust.Quorum, c.trust.Administrators = c.policy.Administrators.Quorum, c.policy.Administrators.Texts
	c.trust.RecoveryQuorum, c.trust.Recovery = c.policy.Recovery.Quorum, c.policy.Recovery.Texts
	c.words.Once("genesis     leaf hash %x", c.trust.Genesis)
	return nil
}

// writeTrust is the last step: a trust file exists only for a log that does.
func (c *ceremony) writeTrust(context.Context) error {
	if err := genesis.WriteTrust(c.TrustDir, c.trust, c.log); err != nil {
		return err
	}
	c.words.Add("trust       %s, SHA-256 of its text %x", c.TrustDir, c.trust.Hash())
	return nil
}
