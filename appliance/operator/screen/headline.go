package screen

import (
	"fmt"
	"slices"
	"strings"

	"touchmark/appliance/operator"
)

// headline is the one thing that is asked or told now: a word to be read from
// across the room, a sentence, and what a narrow display shows in its place.
type headline struct {
	word, text string
	alert      bool
	short      string // empty: the beginning of the text
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
		return headline{"DO NOT TOUCH", "!!! DO NOT TOUCH the token until it stops blinking !!!" + ends(left), true, "!!! DO NOT TOUCH the token !!!" + ends(left)}
	case operator.AskTouch:
		return touchHeadline(v, left)
	case operator.AskArm, operator.AskUnmirrored:
		return decideHeadline(v, left)
	case operator.AskConfirm:
		return headline{word: "SURE?", text: ">>> Shall this be done? It cannot be undone <<<", alert: true, short: ">>> Do it? It cannot be undone <<<"}
	}
	switch {
	case v.Halted != "":
		return headline{word: "HALTED", text: "*** HALTED: nothing will be signed ***", alert: true}
	case v.Event == "stopped":
		return headline{word: "STOPPED", text: "*** The appliance has stopped ***"}
	case v.Ask == operator.AskTime:
		return headline{word: "TIME?", text: ">>> Is this time right? " + stamp(v) + " <<<", short: ">>> Right? " + stamp(v) + " <<<"}
	case v.Ask == operator.AskPIN:
		return headline{word: secret(v), text: ">>> Type the token's " + secret(v) + " <<<"}
	}
	return quietHeadline(v)
}

// secret is which of the token's two secrets is asked for. The ceremony alone asks for a PUK, and names it; who types the
// PIN in its place three times has a token whose PUK is gone.
func secret(v *operator.View) string {
	for _, of := range []string{"Type the present PUK ", "Type the PUK ", "Type the new PUK "} {
		if strings.Contains(v.Message, of) {
			return "PUK"
		}
	}
	return "PIN"
}

func touchHeadline(v *operator.View, left int) headline {
	if v.Job == nil {
		return headline{word: "TOUCH", text: ">>> TOUCH THE TOKEN NOW <<<" + ends(left)}
	}
	n := fmt.Sprintf("%d of %d", v.Job.Touch, len(v.Job.Items))
	return headline{"TOUCH " + strings.Replace(n, " of ", "/", 1), ">>> TOUCH THE TOKEN NOW: touch " + n + " <<<" + ends(left), false, ">>> TOUCH NOW: " + n + " <<<" + ends(left)}
}

// decideHeadline puts the alarm about a request before where it cannot be
// overlooked: above the question about this one.
func decideHeadline(v *operator.View, left int) headline {
	h := headline{word: "ARM?", text: ">>> Arm it, or deny it? <<<" + ends(left)}
	if v.Ask == operator.AskUnmirrored {
		h = headline{"ARM?", ">>> Go on although NO HOST holds it, or deny it? <<<" + ends(left), true, ">>> NO HOST holds it: go on? <<<" + ends(left)}
	}
	if v.Alarm != "" {
		h.word, h.text, h.alert, h.short = "ALARM", strings.Replace(h.text, ">>> ", ">>> ALARM! ", 1), true, ">>> ALARM! Arm or deny? <<<"+ends(left)
	}
	return h
}

// quietHeadline is for when nothing is asked.
func quietHeadline(v *operator.View) headline {
	switch {
	case v.Alarm != "":
		return headline{word: "ALARM", text: "!!! ALARM: read below !!!", alert: true}
	case v.Job != nil && v.Job.Over():
		return overHeadline(v.Job)
	case v.Job != nil:
		return headline{word: "WAIT", text: "Working: " + v.Job.State + "."}
	case v.Order != nil:
		return headline{word: "WAIT", text: "Working: " + v.Order.State + "."}
	case v.TPM == operator.TPMSilent:
		return headline{word: "NO TPM", text: "*** The TPM does not answer; it is asked again ***", alert: true, short: "*** The TPM does not answer ***"}
	case v.Token == "missing" || v.Token == "wrong":
		return headline{word: "TOKEN?", text: "*** Insert the token (" + v.Token + ") ***"}
	case v.Token == "enrolling":
		return headline{word: "", text: "Key ceremony"}
	case v.State == "ready" && slices.ContainsFunc(v.Rounds, waits):
		return headline{word: "READY", text: "Ready. No request; rounds wait."}
	case v.State == "ready":
		return headline{word: "READY", text: "Ready. No request."}
	}
	return headline{word: "WAIT", text: "Working: " + v.State + "."}
}

func overHeadline(j *operator.Job) headline {
	signed := 0
	for _, it := range j.Items {
		if it.Outcome == "signed" {
			signed++
		}
	}
	if signed == len(j.Items) {
		return headline{word: "SIGNED", text: fmt.Sprintf("Done: %d of %d signed.", signed, len(j.Items))}
	}
	return headline{word: "NOT SIGNED", text: fmt.Sprintf("Done: %d of %d signed.", signed, len(j.Items))}
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
	if len(text) > width && h.short != "" {
		text = h.short
	}
	if pad := width - len(text); pad > 0 {
		text = strings.Repeat(" ", pad/2) + text + strings.Repeat(" ", pad-pad/2)
	}
	return Line{clean(text, width), h.style()}
}

func stamp(v *operator.View) string { return v.Time.UTC().Format("2006-01-02 15:04:05 UTC") }
