package pivemu

import (
	"bytes"

	"touchmark/tests/pivemu/iso7816"
)

// objectID is the tag of a data object (SP 800-73-4 part 1 table 3 and
// Yubico's 5fffxx).
type objectID uint32

const (
	objDiscovery   objectID = 0x7e
	objAttestation objectID = 0x5fff01
	objFirst       objectID = 0x5f0000
	objLast        objectID = 0x5fffff
	tagList                 = 0x5c
	tagData                 = 0x53
)

// discovery is the Discovery Object (part 1 §3.3.2): the application's AID and
// the PIN usage policy "application PIN only".
var discovery = []byte{
	0x7e, 0x12, 0x4f, 0x0b, 0xa0, 0x00, 0x00, 0x03, 0x08, 0x00, 0x00, 0x10, 0x00, 0x01, 0x00,
	0x5f, 0x2f, 0x02, 0x40, 0x00,
}

// needsPIN: printed information, fingerprints, face and iris are read with the
// PIN only (part 1 table 2).
func (id objectID) needsPIN() bool {
	switch id {
	case 0x5fc103, 0x5fc108, 0x5fc109, 0x5fc121:
		return true
	}
	return false
}

func (id objectID) stored() bool { return id >= objFirst && id <= objLast }

// readID reads the tag list 5c that starts GET DATA and PUT DATA.
func readID(o iso7816.Objects) (objectID, bool) {
	if len(o) == 0 || o[0].Tag != tagList || len(o[0].Value) == 0 || len(o[0].Value) > 3 {
		return 0, false
	}
	var id objectID
	for _, b := range o[0].Value {
		id = id<<8 | objectID(b)
	}
	return id, true
}

// getData is GET DATA (§3.1.2).
func (c *Card) getData(cmd iso7816.Command) ([]byte, iso7816.SW) {
	if cmd.P1 != 0x3f || cmd.P2 != 0xff {
		return nil, iso7816.WrongP1P2
	}
	o, err := iso7816.ParseTLV(cmd.Data)
	if err != nil || len(o) != 1 {
		return nil, iso7816.WrongData
	}
	id, ok := readID(o)
	if !ok {
		return nil, iso7816.WrongData
	}
	if id == objDiscovery {
		return discovery, iso7816.OK
	}
	if id.needsPIN() && !c.session.pinVerified {
		return nil, iso7816.NotSatisfied
	}
	data, ok := c.state.Objects[id]
	if !ok {
		return nil, iso7816.NotFound
	}
	return iso7816.TLV(tagData, data), iso7816.OK
}

// putData is PUT DATA (§3.3.1); an empty object is removed.
func (c *Card) putData(cmd iso7816.Command) iso7816.SW {
	if cmd.P1 != 0x3f || cmd.P2 != 0xff {
		return iso7816.WrongP1P2
	}
	if !c.session.managed {
		return iso7816.NotSatisfied
	}
	o, err := iso7816.ParseTLV(cmd.Data)
	if err != nil || len(o) != 2 || o[1].Tag != tagData {
		return iso7816.WrongData
	}
	id, ok := readID(o)
	if !ok || !id.stored() {
		return iso7816.WrongData
	}
	data := o[1].Value
	if len(data) > maxObject || c.state.objectBytes()-len(c.state.Objects[id])+len(data) > maxObjects {
		return iso7816.NoSpace
	}
	if len(data) == 0 {
		delete(c.state.Objects, id)
	} else {
		c.state.Objects[id] = bytes.Clone(data)
	}
	return c.save()
}
