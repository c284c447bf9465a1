package operator

import (
	"os"
	"reflect"
	"strings"
	"testing"
)

// The operator guide names every member of what --operator lines writes, and
// every question.
func TestGuideNamesEveryMember(t *testing.T) {
	raw, err := os.ReadFile("../../docs/operator-guide.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(raw), "### Lines")
	section, _, _ = strings.Cut(section, "\n## ")
	named := func(typ reflect.Type) {
		for f := range typ.Fields() {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if !strings.Contains(section, "`"+name+"`") {
				t.Errorf("docs/operator-guide.md does not name `%s` of %s", name, typ)
			}
		}
	}
	for _, v := range []any{View{}, Job{}, Item{}, Order{}, Waiting{}, Round{}, Ended{}} {
		named(reflect.TypeOf(v))
	}
	for _, a := range []Ask{AskTime, AskConfirm, AskPIN, AskArm, AskUnmirrored, AskTouch, AskNoTouch} {
		if !strings.Contains(section, "`"+string(a)+"`") {
			t.Errorf("docs/operator-guide.md does not name the question %q", a)
		}
	}
	for _, w := range []string{TPMStarting, TPMSilent, TPMReady, TPMOdds, TPMUnknown} {
		if !strings.Contains(section, "`"+w+"`") {
			t.Errorf("docs/operator-guide.md does not say what TPM %q is", w)
		}
	}
}
