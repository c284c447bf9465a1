package pacman

const (
	// maxArchive bounds a database without its compression: that of all of Arch
	// Linux's extra with its lists of files is 400 MiB.
	maxArchive = 2 << 30
	// maxMember bounds one member: the longest list of files is 10 MiB.
	maxMember = 64 << 20
	// maxPackages bounds the packages: five times Arch Linux's extra.
	maxPackages = 100_000
)
