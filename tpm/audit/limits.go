package audit

// batch and batchBytes are how many entries are read, verified in parallel and
// folded at a time: enough to keep all processors busy.
const batch, batchBytes = 2048, 4 << 20
