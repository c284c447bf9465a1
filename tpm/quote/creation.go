package quote

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
)

// Creation is the proof, by the AK about itself, of how the TPM made it.
type Creation struct {
	Data   []byte // TPMS_CREATION_DATA (Part 2, §15.1)
	Attest []byte // TPMS_ATTEST of type ATTEST_CREATION
	Sig    []byte // TPMT_SIGNATURE
}

// VerifyCreation verifies that k certified its own creation data and that the
// data say: made as a primary key of the owner hierarchy, bound to no PCR,
// with this outsideInfo (at most MaxOutside bytes).
func (k *AK) VerifyCreation(c Creation, outside []byte) error {
	if len(c.Data) > MaxCreation {
		return fmt.Errorf("quote: creation data of %d bytes, over the limit of %d", len(c.Data), MaxCreation)
	}
	r, _, _, err := k.open(Attestation{c.Attest, c.Sig}, typeCreation, CreationTag(outside))
	if err != nil {
		return err
	}
	name, hash := r.sized(maxName, "objectName"), r.sized(32, "creationHash")
	if err := r.close(); err != nil {
		return err
	}
	if string(name) != string(k.name) {
		return fmt.Errorf("quote: creation attested of object %x, not of the AK %x", name, k.name)
	}
	if sum := sha256.Sum256(c.Data); string(hash) != string(sum[:]) {
		return fmt.Errorf("quote: attested creationHash %x is not that of the creation data", hash)
	}
	return checkCreationData(c.Data, outside)
}

func checkCreationData(data, outside []byte) error {
	r := &reader{b: data}
	pcrs := r.selection()
	r.sized(32, "creation pcrDigest") // says nothing without a selection
	r.u8("creation locality")         // 0–4, whoever enrolled
	r.expect16(algNull, "parentNameAlg")
	parent := r.sized(maxName, "parentName")
	qualified := r.sized(maxName, "parentQualifiedName")
	info := r.sized(MaxOutside, "outsideInfo")
	if err := r.close(); err != nil {
		return err
	}
	owner := string(binary.BigEndian.AppendUint32(nil, rhOwner))
	switch {
	case len(pcrs) != 0:
		return fmt.Errorf("quote: AK creation is bound to PCRs")
	case string(parent) != owner || string(qualified) != owner:
		return fmt.Errorf("quote: AK was made under %x, not as a primary key of the owner hierarchy", qualified)
	case string(info) != string(outside):
		return fmt.Errorf("quote: AK was made with outsideInfo %x, not %x", info, outside)
	}
	return nil
}
