package policy

import "time"

// Bounds of a policy. They are generous for people and small for machines.
const (
	// MaxText bounds the TOML text: with its note, the token's attestation
	// and the certificate it must fit the genesis entry of 60 KiB.
	MaxText = 24 << 10
	// MaxAdministrators, of those of recovery too, MaxHosts, MaxApprovers,
	// MaxKeys and MaxClasses bound the tables; a PIV token has 24 key slots, and approvers must not exceed
	// message.MaxSignatures, or a fully approved job could not be opened.
	MaxAdministrators, MaxHosts, MaxApprovers, MaxKeys, MaxClasses = 16, 64, 32, 24, 64
	// MaxList bounds the lists of a class: hosts, names, formats.
	MaxList = 64
	// MaxRates bounds the rate windows of a class, each a count per admission.
	MaxRates = 8
	// MaxCount bounds the number in a rate.
	MaxCount = 1_000_000
	// MaxWindow bounds a rate window: the history kept in memory spans it.
	MaxWindow = 3660 * day
	// MaxSkew bounds max_skew: beyond a day, host time says nothing.
	MaxSkew = day
	// MaxValidity bounds max_validity: job identities are remembered as long.
	MaxValidity = 366 * day
	// MaxSerial keeps a serial in an int64 of any TOML reader.
	MaxSerial = 1<<53 - 1

	day = 24 * time.Hour
)
