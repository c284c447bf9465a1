package station
import ("testing";"time";"touchmark/appliance/operator";"touchmark/tpm/ledger/order";"fmt")
func TestZZ(t *testing.T) {
	b, _, _, note := rotated(t)
	_ = order.Note{}
	id := b.bring(note)
	b.ordered(id)
	b.command(operator.Command{Verb: operator.Arm, Job: id})
	dl := time.After(2*time.Second)
	for { select {
	case v := <-b.panel.views: o:=""; if v.Order!=nil {o=v.Order.State+fmt.Sprint(v.Order.Unmirrored)}; fmt.Println(v.Event, v.Ask, o, v.Message, v.Halted)
	case m := <-b.link.out: p,_ := fromBoard(m); fmt.Printf("%T\n",p); b.take(p)
	case <-dl: return
	}}
}
