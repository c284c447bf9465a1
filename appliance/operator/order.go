package operator

import "fmt"

// AskUnmirrored asks whether to commit the order shown although no host holds
// it; Unmirrored says so.
const (
	AskUnmirrored Ask  = "unmirrored"
	Unmirrored    Verb = "unmirrored"
)

// Order is what administrators order the board to do, on display to be armed or
// denied. Every line was computed by the appliance from signed text.
type Order struct {
	ID         string   `json:"id"`   // SHA-256 of its text, hex
	Kind       string   `json:"kind"` // of its entry in the log
	Lines      []string `json:"lines"`
	State      string   `json:"state"`      // shown, mirroring or committing; of a cert order, the ceremony's phase
	Unmirrored bool     `json:"unmirrored"` // no host would hold it before the TPM does
}

// order lays out what an order says.
func (p *page) order(o *Order) {
	p.add(fmt.Sprintf("ADMINISTRATORS' ORDER %s   %s", short(o.ID), o.Kind))
	if o.Unmirrored {
		p.add("NO HOST holds it yet: what only this board has can be lost with it")
	}
}

// orderLines are its lines, each in one piece.
func orderLines(o *Order, width int) (blocks [][]string) {
	for _, l := range o.Lines {
		p := &page{width: width}
		p.text(l)
		blocks = append(blocks, p.lines)
	}
	return blocks
}

// orderPrompt is what is asked about an order.
func orderPrompt(v View) string {
	switch v.Ask {
	case AskArm:
		return "Arm it, or deny it?"
	case AskNoTouch:
		return "DO NOT TOUCH the token until it stops blinking. It was denied."
	case AskTouch:
		return ">>> TOUCH THE TOKEN NOW <<<"
	case AskUnmirrored:
		return "Go on although no host holds it, or deny it?"
	}
	return "Working: " + v.Order.State + "."
}
