package quote_test

import (
	"bytes"
	"testing"

	"touchmark/tpm/quote"
	"touchmark/tpm/quote/quotetest"
)

var x = [32]byte{1, 2, 3}

func TestVerifyNV(t *testing.T) {
	tpm := quotetest.New()
	tpm.ExtendHead(x)
	a := tpm.CertifyHead(quote.CertifyTag(x))
	facts, err := tpm.AK().VerifyNV(a, tpm.HeadName(), quote.CertifyTag(x))
	if err != nil {
		t.Fatal(err)
	}
	if facts.Contents != tpm.Head || facts.Clock != tpm.Clock || facts.Firmware != 0x2019102300163636 {
		t.Errorf("facts %+v do not match the TPM %+v", facts, tpm)
	}
}

func TestVerifyQuote(t *testing.T) {
	tpm := quotetest.New()
	tpm.ExtendPCR(x)
	facts, err := tpm.AK().VerifyQuote(tpm.QuotePCR(quote.QuoteTag(x)), 14, quote.QuoteTag(x))
	if err != nil {
		t.Fatal(err)
	}
	if facts.PCRDigest != quote.PCRDigest(tpm.PCR) || facts.Clock != tpm.Clock {
		t.Errorf("facts %+v do not match the TPM %+v", facts, tpm)
	}
}

func TestVerifyCreation(t *testing.T) {
	tpm := quotetest.New()
	for _, outside := range [][]byte{nil, []byte("o"), bytes.Repeat([]byte{7}, quote.MaxOutside)} {
		if err := tpm.AK().VerifyCreation(tpm.Creation(outside), outside); err != nil {
			t.Errorf("outsideInfo %x: %v", outside, err)
		}
	}
	if err := tpm.AK().VerifyCreation(tpm.Creation([]byte("mine")), []byte("other")); err == nil {
		t.Error("creation with another outsideInfo accepted")
	}
	long := bytes.Repeat([]byte{7}, quote.MaxOutside+1)
	if err := tpm.AK().VerifyCreation(tpm.Creation(long), long); err == nil {
		t.Error("outsideInfo over the limit accepted")
	}
}
