package ledgerstore

import "touchmark/tpm/ledgerstore/durable"

type (
	file = durable.File
	disk = durable.Disk
)

var diskErr = durable.Error
