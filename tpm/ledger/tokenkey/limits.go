package tokenkey

import (
	"touchmark/appliance/policy"
	"touchmark/tpm/ledger/order"
)

// MaxRecord bounds a record that travels alone: it is to fit an order.
const MaxRecord = order.MaxText

// MaxKeys bounds the keys of a log, which a policy must name.
const MaxKeys = policy.MaxKeys
