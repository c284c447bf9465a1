package boot

import "encoding/binary"

// Superblock is where an ext4 file system says how it is (Linux
// Documentation/filesystems/ext4/super.rst): SuperblockSize bytes from offset
// SuperblockAt of the partition.
const (
	SuperblockAt   = 1024
	SuperblockSize = 1024
)

// Disk is the state of the data partition.
type Disk int

// The states.
const (
	DiskForeign Disk = iota // no ext4: nothing is to be done to it
	DiskClean               // to be mounted; the journal, if it was cut off, is replayed
	DiskErrors              // the kernel has found contradictions in it: to be read only
)

// Fields of the superblock.
const (
	magicAt, magic       = 0x38, 0xEF53
	stateAt, stateErrors = 0x3A, 2
	errorCountAt         = 0x194
)

// ReadSuperblock tells how the file system is.
func ReadSuperblock(b []byte) Disk {
	switch {
	case len(b) < SuperblockSize || binary.LittleEndian.Uint16(b[magicAt:]) != magic:
		return DiskForeign
	case binary.LittleEndian.Uint16(b[stateAt:])&stateErrors != 0 || binary.LittleEndian.Uint32(b[errorCountAt:]) > 0:
		return DiskErrors
	}
	return DiskClean
}
