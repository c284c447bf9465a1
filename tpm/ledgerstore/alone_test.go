package ledgerstore

import (
	"os"
	"os/exec"
	"testing"
)

// alone runs the calling test in a process of its own and reports whether this
// is that process: a limit on file sizes is for the whole process, and would
// also hit the log that "go test" has its process write.
func alone(t *testing.T) bool {
	t.Helper()
	const mark = "TOUCHMARK_TEST_ALONE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}
