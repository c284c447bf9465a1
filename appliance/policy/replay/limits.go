package replay

// MaxRefused bounds the refused jobs that a report names; it counts all of
// them. A policy that would have refused more is not nearly what was in force,
// and nobody reads on.
const MaxRefused = 200
