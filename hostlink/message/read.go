package message

import "touchmark/hostlink/message/canon"

func readOrigin(r *canon.Reader) string {
	s := r.Line("origin", 1)[0]
	if r.Err() != nil {
		return ""
	}
	if err := ValidOrigin(s); err != nil {
		r.Failf("%v", err)
		return ""
	}
	return s
}

func readToken(r *canon.Reader, key string) string {
	return checkToken(r, r.Line(key, 1)[0])
}

func checkToken(r *canon.Reader, s string) string {
	if r.Err() == nil && !ValidToken(s) {
		r.Failf("%s is not a word of at most %d characters a-z 0-9 . _ -", quote(s), MaxToken)
		return ""
	}
	return s
}

func checkFormat(r *canon.Reader, s string) string {
	if r.Err() == nil && !ValidFormat(s) {
		r.Failf("%s is not a format of at most %d characters a-z 0-9 . _ - @", quote(s), MaxToken)
		return ""
	}
	return s
}

func readDigest(r *canon.Reader, s string) Digest {
	if r.Err() != nil {
		return Digest{}
	}
	d, err := ParseDigest(s)
	if err != nil {
		r.Failf("%v", err)
	}
	return d
}

func readJob(r *canon.Reader, key string) JobID {
	return JobID(r.Hex(r.Line(key, 1)[0], len(JobID{})))
}

// readHead reads a tree: "key SIZE ROOT".
func readHead(r *canon.Reader, key string) (uint64, [32]byte) {
	f := r.Line(key, 2)
	return r.Uint(f[0], MaxTreeSize), [32]byte(r.Hex(f[1], 32))
}

func readUint(r *canon.Reader, key string, max uint64) uint64 {
	return r.Uint(r.Line(key, 1)[0], max)
}
