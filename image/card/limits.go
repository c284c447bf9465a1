package card

import "touchmark/image/fat"

// Signature is the card's number in its partition table and in its FAT volumes; it says that the card is a Touchmark's.
const Signature = 0x544d4b31

// Where the partitions lie, in sectors of 512 bytes: each at a multiple of 1 MiB, so that no block of the card is shared.
const (
	SelectStart   = 2048
	SelectSectors = 4 << 20 / fat.SectorSize // as small as FAT16 with clusters of one sector is, rounded up
	SlotStart     = SelectStart + SelectSectors
	SlotSectors   = 32 << 20 / fat.SectorSize // boot.img is at most 16 MiB; there is room for one that has grown twofold
	DataStart     = SlotStart + 2*SlotSectors
	// DataSectors is what a new card has for the log: 1 GiB. It can be made larger.
	DataSectors = 1 << 30 / fat.SectorSize
)

// How many signatures of a P-256 key a new card has room for, until its board begins to warn: each in a round of its own,
// or in rounds of a dozen files. What an entry takes on disk is measured (image/recipe, TestRoomForSignatures).
const (
	SignaturesAlone    = 300_000
	SignaturesInRounds = 1_200_000
)

// Names of the FAT volumes.
const (
	SelectLabel = "TM-SELECT"
	slotLabel   = "TM-SLOT"
)

const (
	typeFAT   = 0x0e // FAT16, counted in sectors
	typeLinux = 0x83
)
