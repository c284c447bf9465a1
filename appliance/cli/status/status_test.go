package status

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"touchmark/appliance/operator"
)

func TestStatusFileHoldsTheLastView(t *testing.T) {
	dir := t.TempDir()
	f := New(dir)
	for n := range uint64(1000) {
		f.Show(operator.View{Event: "update", LogSize: n})
	}
	f.Show(operator.View{Event: "stopped", LogSize: 1000})
	f.Close()
	raw, err := os.ReadFile(filepath.Join(dir, statusName))
	if err != nil {
		t.Fatal(err)
	}
	var v operator.View
	if err := json.Unmarshal(raw, &v); err != nil || v.Event != "stopped" || v.LogSize != 1000 {
		t.Fatalf("%+v, %v", v, err)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "*.new")); err != nil || len(left) > 0 {
		t.Fatalf("%v left behind, %v", left, err)
	}
}
