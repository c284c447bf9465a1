package audit

// batch and batchBytes are how many entries are read, verified in parallel and
// folded at a time; as many again are read while these are verified. Enough to
// keep all processors busy, and a fraction of the memory that an audit may take.
const batch, batchBytes = 512, 2 << 20
