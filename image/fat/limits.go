package fat

// What a volume consists of, in bytes, sectors and entries.
const (
	SectorSize   = 512
	reserved     = 1   // sectors before the tables: the boot sector
	tables       = 2   // every reader expects two
	rootEntries  = 512 // what every reader expects of FAT16: 32 sectors
	entrySize    = 32
	firstCluster = 2 // clusters 0 and 1 do not exist: their places in the table are marks
	maxCluster   = 8 // sectors: 4 KiB, a page and a block of a card
)

const (
	// MinSectors leaves more than minClusters clusters of one sector.
	MinSectors = 6144
	// MaxSectors leaves fewer clusters of maxCluster sectors than FAT16 can count: 128 MiB, four times a slot.
	MaxSectors = 1 << 18
	// minClusters is above 4085, below which a volume is FAT12; some readers draw that line a few clusters further up.
	minClusters = 4200
)

const (
	mediaFixed  = 0xf8
	endOfFile   = 0xffff
	attrVolume  = 0x08
	attrArchive = 0x20
	lowerBase   = 0x08
	lowerExt    = 0x10
)
