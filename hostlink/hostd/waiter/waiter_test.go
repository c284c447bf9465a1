package waiter

import (
	"testing"

	"touchmark/hostlink/hostd/api"
)

// TestGroup: all who wait hear hints and the one answer, who parted does not, and one that does not read holds nobody up.
func TestGroup(t *testing.T) {
	slow, gone := New(), New()
	g := Group{slow, gone}
	if !g.Part(gone) || g.Part(gone) || g.Has(gone) || !g.Has(slow) {
		t.Fatalf("%d wait", len(g))
	}
	for range 2 * cap(slow.Events) {
		g.Emit(api.Event{State: "busy"})
	}
	g.Answer(api.Fail(api.Denied, "%s", "no"))
	if r := <-slow.Final; r.Code != api.Denied || !r.Final || r.OK || r.Error != "no" {
		t.Errorf("the answer is %+v", r)
	}
	if len(slow.Events) != cap(slow.Events) || (<-slow.Events).State != "busy" {
		t.Errorf("%d hints", len(slow.Events))
	}
	if len(g) != 0 || len(gone.Final)+len(gone.Events) != 0 {
		t.Errorf("%d still wait", len(g))
	}
}
