package recovery

// maxOpen bounds the commits that may have come next while entries from a
// mirror are followed: all but one were armed by the operator and failed.
const maxOpen = 4096
