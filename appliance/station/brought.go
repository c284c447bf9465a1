package station

import (
	"context"

	"touchmark/appliance/intake"
	"touchmark/appliance/station/decree"
	"touchmark/appliance/station/orderdir"
	"touchmark/hostlink/message"
)

// watchOrders takes what is put into the directory of orders.
func (s *Station) watchOrders(ctx context.Context) (wait func()) {
	if s.cfg.Orders == "" {
		return func() {}
	}
	return orderdir.Watch(ctx, s.cfg.Orders, s.cfg.OrderPoll, func(name string, note []byte, err error) {
		s.loop.Post(func() { s.brought(name, note, err) })
	})
}

// brought takes a note that somebody put before the board.
func (s *Station) brought(name string, note []byte, err error) {
	if err == nil {
		err = s.takeOrder(note, false)
	}
	if err != nil && intake.RefusalOf(err).Code == message.CodeBusy {
		s.loop.After(s.cfg.OrderPoll, func() { s.brought(name, note, nil) })
		return
	}
	if err != nil {
		s.refuseFor(decree.Named(note), err)
		s.show("order-dropped", "The order in "+name+" has no effect: "+err.Error()+".")
	}
}
