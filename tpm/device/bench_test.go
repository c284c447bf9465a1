package device_test

import (
	"testing"

	"touchmark/tests/swtpm"
	"touchmark/tpm/device"
)

// BenchmarkCommands measures each command of a ceremony on swtpm, without the
// proxy.
func BenchmarkCommands(b *testing.B) {
	s := swtpm.Start(b)
	tpm, err := device.Open(s.Direct())
	if err != nil {
		b.Fatal(err)
	}
	defer tpm.Close()
	if _, err := tpm.MakeAK(nil); err != nil {
		b.Fatal(err)
	}
	if err := tpm.MakeHead(); err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		run  func() error
	}{
		{"ExtendHead", func() error { return tpm.ExtendHead(x1) }},
		{"ExtendPCR", func() error { return tpm.ExtendPCR(x1) }},
		{"CertifyHead", func() error { return second(tpm.CertifyHead(x1)) }},
		{"QuotePCR", func() error { return second(tpm.QuotePCR(x1)) }},
		{"Head", func() error { return second(tpm.Head()) }},
		{"PCR", func() error { return second(tpm.PCR()) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				if err := c.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
