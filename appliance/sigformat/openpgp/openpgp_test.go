package openpgp

import (
	"bytes"
	"testing"

	"touchmark/appliance/sigformat/openpgp/packet"
	"touchmark/appliance/sigformat/sigtest"
	"touchmark/hostlink/message"
)

func FuzzParseSignature(f *testing.F) {
	for _, k := range sigtest.Tokens() {
		p, err := PlanFile(k.Key, TypeBinary, sigtest.StateOf(k.CertAlg(), []byte("abc")), sigtest.When, sigtest.Origin, message.JobID{1, 2, 3})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(k.Seal(f, p))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseSignature(b)
		if err != nil {
			return
		}
		if again := p.marshal(); !bytes.Equal(again, b) {
			t.Fatalf("parse → marshal is not the identity:\n%x\n%x", b, again)
		}
	})
}

// marshal rebuilds the packet from the parsed facts alone.
func (s *Signature) marshal() []byte {
	stamp, err := packet.Time(s.Created)
	if err != nil {
		panic(err)
	}
	note, err := Notation(s.Origin, s.Job)
	if err != nil {
		panic(err)
	}
	area := packet.AppendSubpacket(nil, packet.SubCreated, stamp...)
	area = packet.AppendSubpacket(area, packet.SubFingerprint, append([]byte{4}, s.Fingerprint[:]...)...)
	area = packet.AppendSubpacket(area, packet.SubNotation, note...)
	kind := byte(TypeBinary)
	if s.Text {
		kind = TypeText
	}
	b := []byte{4, kind, s.algo, hashIDs[s.Alg], byte(len(area) >> 8), byte(len(area))}
	b = append(append(b, area...), 0, 10)
	b = packet.AppendSubpacket(b, packet.SubIssuer, s.Fingerprint[12:]...)
	b = append(b, s.left[:]...)
	for _, v := range s.values {
		b = packet.AppendMPI(b, v)
	}
	return packet.Append(nil, packet.TagSignature, b)
}
