package device

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// The floor is the serial below which a board starts no image any more
// (docs/spec/tpm.md section 3.1). Two NV indexes beside HEAD make it: a counter,
// which only TPM2_NV_Increment changes, and what that counter began at, written
// once and locked for ever. A TPM begins a new counter where the largest that it
// ever had ended (Part 1, "NV Counters"), so the difference of the two counts.
// Neither can be removed, for HEAD's reason.

// Attributes of the two indexes, Part 2 §13.4. Beside their kind (bits 7:4) they
// are HEAD's: AUTHWRITE, POLICY_DELETE with an empty policy, AUTHREAD, NO_DA,
// PLATFORMCREATE.
const (
	counterAttributes = 0x42040414 // TPM_NT_COUNTER
	firstAttributes   = 0x42042404 // ordinary, WRITEDEFINE: WriteLock is for ever
	attributeWritten  = 1 << 29
	attributeLocked   = 1 << 11
	wordSize          = 8 // both hold one u64
)

// ErrNoFloor says that the TPM has no floor, or one whose making was cut short.
var ErrNoFloor = errors.New("tpm: there is no counter of image serials: the board was not enrolled to its end")

// ForeignFloorError says that an NV index of the floor is something else.
type ForeignFloorError struct {
	Index  uint32
	Public []byte // TPMS_NV_PUBLIC found
}

func (e *ForeignFloorError) Error() string {
	return fmt.Sprintf("tpm: NV index %#08x exists but is not of the image counter (its public area is %x)", e.Index, e.Public)
}

func (t *TPM) counterIndex() uint32 { return t.cfg.Head + 1 }
func (t *TPM) firstIndex() uint32   { return t.cfg.Head + 2 }

// MakeFloor makes the floor, at zero. **It can never be removed.** One that is
// there already stays as it is; one that was cut short is made whole.
func (t *TPM) MakeFloor() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	attributes, err := t.word(t.counterIndex(), counterAttributes)
	if errors.Is(err, ErrNoFloor) {
		err = t.defineWord(t.counterIndex(), counterAttributes)
	}
	if err != nil {
		return err
	}
	if attributes&attributeWritten == 0 { // a counter cannot be read before its first increment
		if err := t.increment(); err != nil {
			return err
		}
	}
	return t.fixFirst()
}

// fixFirst writes down, once, what the counter stands at.
func (t *TPM) fixFirst() error {
	attributes, err := t.word(t.firstIndex(), firstAttributes)
	if errors.Is(err, ErrNoFloor) {
		err = t.defineWord(t.firstIndex(), firstAttributes)
	}
	if err != nil || attributes&attributeLocked != 0 {
		return err
	}
	now, err := t.readWord(t.counterIndex())
	if err != nil {
		return err
	}
	if err := t.writeWord(t.firstIndex(), now); err != nil {
		return err
	}
	h := tpm2.TPMHandle(t.firstIndex())
	_, err = tpm2.NVWriteLock{
		AuthHandle: tpm2.AuthHandle{Handle: h, Name: unsentName, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:    tpm2.NamedHandle{Handle: h, Name: unsentName},
	}.Execute(t.wire)
	return explain(tpm2.TPMCCNVWriteLock, err, ErrNoFloor, ErrNoFloor)
}

// Floor is how often the counter was raised; ErrNoFloor if there is none.
func (t *TPM) Floor() (uint64, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.floor()
}

func (t *TPM) floor() (uint64, error) {
	if attributes, err := t.word(t.counterIndex(), counterAttributes); err != nil {
		return 0, err
	} else if attributes&attributeWritten == 0 {
		return 0, ErrNoFloor
	}
	if attributes, err := t.word(t.firstIndex(), firstAttributes); err != nil {
		return 0, err
	} else if attributes&attributeLocked == 0 {
		return 0, ErrNoFloor
	}
	now, err := t.readWord(t.counterIndex())
	if err != nil {
		return 0, err
	}
	first, err := t.readWord(t.firstIndex())
	if err != nil {
		return 0, err
	}
	if now < first {
		return 0, fmt.Errorf("tpm: the image counter stands at %d, below the %d that it began at", now, first)
	}
	return now - first, nil
}

// RaiseFloor raises the floor to at least this, by MaxRaise steps at most: further is an
// error, and nothing is raised. A step is one command. Each is looked at before the
// next: an increment whose answer got lost is not repeated.
func (t *TPM) RaiseFloor(to uint64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, err := t.floor()
	if err == nil && to > at+MaxRaise {
		return fmt.Errorf("tpm: raising the image counter from %d to %d is more than %d steps", at, to, MaxRaise)
	}
	for err == nil && at < to {
		failed := t.increment()
		before := at
		if at, err = t.floor(); err == nil && at == before {
			err = cmp.Or(failed, errors.New("tpm: the image counter does not move"))
		}
	}
	return err
}

// word gives the attributes of one of the two indexes, which must be as we define it.
func (t *TPM) word(index, attributes uint32) (uint32, error) {
	rsp, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(index)}.Execute(t.wire)
	if err != nil {
		return 0, explain(tpm2.TPMCCNVReadPublic, err, ErrNoFloor)
	}
	public := rsp.NVPublic.Bytes()
	for _, more := range []uint32{0, attributeWritten, attributeWritten | attributeLocked} {
		if bytes.Equal(public, wordPublic(index, attributes|more)) {
			return attributes | more, nil
		}
	}
	return 0, &ForeignFloorError{Index: index, Public: bytes.Clone(public)}
}

// wordPublic is the TPMS_NV_PUBLIC of an index: nvIndex ‖ nameAlg SHA-256 ‖
// attributes ‖ empty authPolicy ‖ dataSize.
func wordPublic(index, attributes uint32) []byte {
	b := binary.BigEndian.AppendUint32(nil, index)
	b = binary.BigEndian.AppendUint16(b, uint16(tpm2.TPMAlgSHA256))
	b = binary.BigEndian.AppendUint32(b, attributes)
	b = binary.BigEndian.AppendUint16(b, 0)
	return binary.BigEndian.AppendUint16(b, wordSize)
}

// defineWord defines an index. A definition that was reported as failed but is
// there counts.
func (t *TPM) defineWord(index, attributes uint32) error {
	_, err := tpm2.NVDefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHPlatform, Auth: tpm2.PasswordAuth(nil)},
		PublicInfo: tpm2.BytesAs2B[tpm2.TPMSNVPublic](wordPublic(index, attributes)),
	}.Execute(t.wire)
	if err == nil {
		return nil
	}
	if _, there := t.word(index, attributes); there == nil {
		return nil
	}
	return definition(err)
}

func (t *TPM) increment() error {
	h := tpm2.TPMHandle(t.counterIndex())
	_, err := tpm2.NVIncrement{
		AuthHandle: tpm2.AuthHandle{Handle: h, Name: unsentName, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:    tpm2.NamedHandle{Handle: h, Name: unsentName},
	}.Execute(t.wire)
	return explain(tpm2.TPMCCNVIncrement, err, ErrNoFloor, ErrNoFloor)
}

func (t *TPM) readWord(index uint32) (uint64, error) {
	rsp, err := tpm2.NVRead{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(index), Name: unsentName, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:    tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: unsentName},
		Size:       wordSize,
	}.Execute(t.wire)
	if err != nil {
		return 0, explain(tpm2.TPMCCNVRead, err, ErrNoFloor, ErrNoFloor)
	}
	if len(rsp.Data.Buffer) != wordSize {
		return 0, fmt.Errorf("tpm: NV index %#08x read as %d bytes, not %d", index, len(rsp.Data.Buffer), wordSize)
	}
	return binary.BigEndian.Uint64(rsp.Data.Buffer), nil
}

func (t *TPM) writeWord(index uint32, v uint64) error {
	_, err := tpm2.NVWrite{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMHandle(index), Name: unsentName, Auth: tpm2.PasswordAuth(nil)},
		NVIndex:    tpm2.NamedHandle{Handle: tpm2.TPMHandle(index), Name: unsentName},
		Data:       tpm2.TPM2BMaxNVBuffer{Buffer: binary.BigEndian.AppendUint64(nil, v)},
	}.Execute(t.wire)
	return explain(tpm2.TPMCCNVWrite, err, ErrNoFloor, ErrNoFloor)
}
