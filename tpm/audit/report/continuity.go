package report

import (
	"fmt"
	"strings"

	"touchmark/tpm/audit/finding"
)

// Continuity compares the reports on two logs of which the later one goes on
// from the earlier one, and adds what there is to say to one of them.
func Continuity(earlier, later, to *Report) {
	var list finding.List
	id := LogID{earlier.Origin, earlier.Genesis}
	switch {
	case later.Predecessor != id:
		list.Add(finding.Of(finding.Evidence, finding.Continuity, fmt.Sprintf("entry 0 of %s does not name this log of %s as its predecessor", later.Origin, earlier.Origin), []uint64{0}))
	case strings.Trim(later.Base, "0") != "" && later.Base != earlier.Head:
		list.Add(finding.Of(finding.Evidence, finding.Continuity, fmt.Sprintf("HEAD was elsewhere when %s began than where %s left it: it took something in between that is in neither", later.Origin, earlier.Origin), []uint64{0}))
	case !earlier.Closed || earlier.Successor == LogID{}:
		list.Add(finding.Of(finding.Warning, finding.Unconfirmed, fmt.Sprintf("the log of %s does not say that %s goes on from it", earlier.Origin, later.Origin), nil))
	case earlier.Successor != LogID{later.Origin, later.Genesis}:
		list.Add(finding.Of(finding.Evidence, finding.Continuity, fmt.Sprintf("the log of %s names another successor, %s", earlier.Origin, earlier.Successor.Origin), nil))
	default:
		list.Add(finding.Of(finding.Info, finding.Continued, fmt.Sprintf("%s goes on from %s, and both logs say so", later.Origin, earlier.Origin), nil))
	}
	to.Findings = finding.Merge(to.Findings, list.Sorted())
	to.Verdict = finding.Verdict(to.Findings)
}
