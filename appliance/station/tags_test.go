package station

import "touchmark/tpm/quote"

func certifyTag(x [32]byte) [32]byte { return quote.CertifyTag(x) }
