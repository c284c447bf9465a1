package document

// Bounds of lists; those of lines and text are form's.
const (
	// maxArtifacts bounds the artifacts that are listed: of a link's products,
	// and of a statement's subjects. Others are counted.
	maxArtifacts = 24

	// maxMembers bounds the listed members of an object that this package knows
	// nothing of. Others are counted.
	maxMembers = 24
)
