package anchor

// CloseAt tells a replay that begins at a boot entry (ReplayAt) that the commit
// of this size, before that entry, closed the log.
func (r *Replay) CloseAt(size uint64) { r.closed = size }
