package finding

import "testing"

func TestList(t *testing.T) {
	var l List
	if got := Verdict(l.Sorted()); got != Clean {
		t.Errorf("nothing is %s", got)
	}
	for i := range uint64(250) {
		l.Add(Of(Info, MaybeSigned, "first", []uint64{250 - i}))
	}
	if got := Verdict(l.Sorted()); got != Clean {
		t.Errorf("information is %s", got)
	}
	l.Add(Of(Warning, NoOutcome, "w", []uint64{3, 3, 1}))
	if got := Verdict(l.Sorted()); got != Warnings {
		t.Errorf("a warning is %s", got)
	}
	l.Add(Of(Evidence, Root, "e", nil))
	list := l.Sorted()
	if Verdict(list) != Tampered || len(list) != 3 || list[0].Code != Root || list[1].Code != NoOutcome || list[2].Code != MaybeSigned {
		t.Errorf("%+v", list)
	}
	if f := list[2]; f.Count != 250 || len(f.Entries) != 100 || f.Entries[0] != 151 || f.Explanation != "first" {
		t.Errorf("%+v", f)
	}
	if f := list[1]; len(f.Entries) != 2 || f.Entries[0] != 1 {
		t.Errorf("%+v", f)
	}
	if f := list[0]; f.Entries == nil {
		t.Error("no entries are null in JSON")
	}
}
