package quote

import "encoding/binary"

// HeadSize is the size of HEAD in bytes: one SHA-256 value.
const HeadSize = 32

// HeadAttributes are the TPMA_NV bits HEAD is defined with (Part 2, §13.4):
// AUTHWRITE (2), TPM_NT_EXTEND (bits 7:4 = 4), POLICY_DELETE (10), AUTHREAD
// (18), NO_DA (25), PLATFORMCREATE (30).
//
// What is missing matters as much. No PPWRITE, OWNERWRITE, PPREAD, OWNERREAD:
// the (empty) authValue is the only way in, so that changing hierarchy
// authorizations cannot lock the log out. No WRITEDEFINE, WRITE_STCLEAR,
// GLOBALLOCK, READ_STCLEAR: nobody can lock it. No ORDERLY: an extend is in
// flash when the TPM answers. No CLEAR_STCLEAR: it survives a reset.
// POLICY_DELETE with an empty policy: UndefineSpace is refused, and
// UndefineSpaceSpecial needs a policy, of which there is none (TPMs answer
// AUTH_UNAVAILABLE, or POLICY_FAIL as no session's digest is empty).
const HeadAttributes = 1<<2 | 4<<4 | 1<<10 | 1<<18 | 1<<25 | 1<<30

// headWritten is TPMA_NV_WRITTEN (29), set by the TPM on the first extend.
const headWritten = 1 << 29

// HeadPublic is the TPMS_NV_PUBLIC (Part 2, §13.5) of HEAD at an index:
// nvIndex ‖ nameAlg SHA-256 ‖ attributes ‖ empty authPolicy ‖ dataSize 32.
func HeadPublic(index uint32, written bool) []byte {
	attributes := uint32(HeadAttributes)
	if written {
		attributes |= headWritten
	}
	b := binary.BigEndian.AppendUint32(nil, index)
	b = binary.BigEndian.AppendUint16(b, algSHA256)
	b = binary.BigEndian.AppendUint32(b, attributes)
	b = binary.BigEndian.AppendUint16(b, 0)
	return binary.BigEndian.AppendUint16(b, HeadSize)
}

// HeadName is the Name of HEAD at an index after its first write:
// 0x000b ‖ SHA-256(HeadPublic(index, true)), 34 bytes. Before that write the
// Name is another one, so no attestation of an unwritten HEAD verifies.
func HeadName(index uint32) []byte { return nameOf(HeadPublic(index, true)) }
