package powercut

import (
	"encoding/json"
	"fmt"
	"os"
	"testing"
)

// traceMark as first argument makes this test binary the tracer.
const traceMark = "trace-files"

func TestMain(m *testing.M) {
	if len(os.Args) > 3 && os.Args[1] == traceMark {
		var o Order
		err := json.Unmarshal([]byte(os.Args[2]), &o)
		code := 0
		if err == nil {
			code, err = Trace(o, os.Args[3:])
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "tracer:", err)
			os.Exit(125)
		}
		os.Exit(code)
	}
	os.Exit(m.Run())
}
