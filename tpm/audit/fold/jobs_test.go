package fold

import (
	"encoding/binary"
	"slices"
	"testing"

	"touchmark/appliance/policy"
	"touchmark/hostlink/message"
	"touchmark/tpm/audit/finding"
	"touchmark/tpm/audit/task"
)

// More jobs at once than are remembered: that is said, and none is remembered
// in the place of another.
func TestJobsForgotten(t *testing.T) {
	f := New(0)
	for i := range maxJobs {
		var id message.JobID
		binary.BigEndian.PutUint32(id[:], uint32(i))
		f.byID[id] = jobRecord{}
	}
	f.swept = maxJobs // none of them has expired
	f.remember(&task.Task{Index: 7}, &policy.Request{Job: message.JobID{0xff}})
	r := f.Report(0, 0, 0)
	i := slices.IndexFunc(r.Findings, func(f finding.Finding) bool { return f.Code == finding.JobsForgotten })
	if i < 0 || r.Findings[i].Severity != finding.Warning || !slices.Equal(r.Findings[i].Entries, []uint64{7}) || len(f.byID) != maxJobs {
		t.Errorf("%d jobs, %+v", len(f.byID), r.Findings)
	}
}
