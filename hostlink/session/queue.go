package session

// queue holds events in order until Next takes them.
type queue struct {
	items []Event
	bytes int // of memory behind message bodies
}

func (q *queue) push(e Event) {
	q.items = append(q.items, e)
	q.bytes += cap(e.Body)
}

func (q *queue) pop() (Event, bool) {
	if len(q.items) == 0 {
		return Event{}, false
	}
	e := q.items[0]
	q.items[0] = Event{}
	q.items = q.items[1:]
	q.bytes -= cap(e.Body)
	if len(q.items) == 0 {
		q.items = nil
	}
	return e, true
}

// full reports that messages must wait.
func (q *queue) full() bool {
	return q.bytes >= recvQueueBytes || len(q.items) >= recvQueueItems
}

// room reports that the Down and Up of a new session still fit. It is above
// full, so that waiting messages do not keep a restarted peer out.
func (q *queue) room() bool { return len(q.items) < 2*recvQueueItems }

// low reports that enough has been taken to let a waiting peer go on.
func (q *queue) low() bool {
	return q.bytes <= recvQueueBytes/2 && len(q.items) <= recvQueueItems/2
}
