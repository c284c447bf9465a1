package screen

import (
	"fmt"
	"slices"
	"strings"

	"touchmark/appliance/operator"
)

// headline is the one thing that is asked or told now: a word to be read from
// across the room, and a sentence.
type headline struct {
	word, text string
	alert      bool
}

func (h headline) style() Style {
	if h.alert {
		return Alert
	}
	return Banner
}

// headlineOf finds the headline, most urgent first. left is what remains of the
// seconds of v.Left.
func headlineOf(v *operator.View, left int) headline {
	switch v.Ask {
	case operator.AskNoTouch:
		return headline{"DO NOT TOUCH", "!!! DO NOT TOUCH the token until it stops blinking !!!" + ends(left), true}
	case operator.AskTouch:
		return touchHeadline(v, left)
	case operator.AskArm, operator.AskUnmirrored:
		return decideHeadline(v, left)
	case operator.AskConfirm:
		return headline{"SURE?", ">>> Shall this be done? It cannot be undone <<<", true}
	}
	switch {
	case v.Halted != "":
		return headline{"HALTED", "*** HALTED: nothing will be signed ***", true}
	case v.Event == "stopped":
		return headline{"STOPPED", "*** The appliance has stopped ***", false}
	case v.Ask == operator.AskTime:
		return headline{"TIME?", ">>> Is this time right? " + stamp(v) + " <<<", false}
	case v.Ask == operator.AskPIN:
		return headline{"PIN", ">>> Type the token's PIN <<<", false}
	}
	return quietHeadline(v)
}

func touchHeadline(v *operator.View, left int) headline {
	if v.Job == nil {
		return headline{"TOUCH", ">>> TOUCH THE TOKEN NOW <<<" + ends(left), false}
	}
	j := v.Job
	return headline{fmt.Sprintf("TOUCH %d/%d", j.Touch, len(j.Items)),
		fmt.Sprintf(">>> TOUCH THE TOKEN NOW: touch %d of %d <<<", j.Touch, len(j.Items)) + ends(left), false}
}

// decideHeadline puts the alarm about a request before where it cannot be
// overlooked: above the question about this one.
func decideHeadline(v *operator.View, left int) headline {
	h := headline{"ARM?", ">>> Arm it, or deny it? <<<" + ends(left), false}
	if v.Ask == operator.AskUnmirrored {
		h = headline{"ARM?", ">>> Go on although NO HOST holds it, or deny it? <<<" + ends(left), true}
	}
	if v.Alarm != "" {
		h.word, h.text, h.alert = "ALARM", strings.Replace(h.text, ">>> ", ">>> ALARM! ", 1), true
	}
	return h
}

// quietHeadline is for when nothing is asked.
func quietHeadline(v *operator.View) headline {
	switch {
	case v.Alarm != "":
		return headline{"ALARM", "!!! ALARM: read below !!!", true}
	case v.Job != nil && v.Job.Over():
		return overHeadline(v.Job)
	case v.Job != nil:
		return headline{"WAIT", "Working: " + v.Job.State + ".", false}
	case v.Order != nil:
		return headline{"WAIT", "Working: " + v.Order.State + ".", false}
	case v.TPM == operator.TPMSilent:
		return headline{"NO TPM", "*** The TPM does not answer; it is asked again ***", true}
	case v.Token == "missing" || v.Token == "wrong":
		return headline{"TOKEN?", "*** Insert the token (" + v.Token + ") ***", false}
	case v.Token == "enrolling":
		return headline{"", "Key ceremony", false}
	case v.State == "ready" && slices.ContainsFunc(v.Rounds, waits):
		return headline{"READY", "Ready. No request; rounds wait.", false}
	case v.State == "ready":
		return headline{"READY", "Ready. No request.", false}
	}
	return headline{"WAIT", "Working: " + v.State + ".", false}
}

func overHeadline(j *operator.Job) headline {
	signed := 0
	for _, it := range j.Items {
		if it.Outcome == "signed" {
			signed++
		}
	}
	if signed == len(j.Items) {
		return headline{"SIGNED", fmt.Sprintf("Done: %d of %d signed.", signed, len(j.Items)), false}
	}
	return headline{"NOT SIGNED", fmt.Sprintf("Done: %d of %d signed.", signed, len(j.Items)), false}
}

// ends tells how long something is asked.
func ends(left int) string {
	if left <= 0 {
		return ""
	}
	if left < 60 {
		return fmt.Sprintf("  %d s", left)
	}
	return fmt.Sprintf("  %d:%02d", left/60, left%60)
}

// banner is the sentence across the display.
func (h headline) banner(width int) Line {
	text := h.text
	if pad := width - len(text); pad > 0 {
		text = strings.Repeat(" ", pad/2) + text + strings.Repeat(" ", pad-pad/2)
	}
	return Line{clean(text, width), h.style()}
}

func stamp(v *operator.View) string { return v.Time.UTC().Format("2006-01-02 15:04:05 UTC") }
