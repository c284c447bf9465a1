package loop

// Errands are what the loop does not wait for, such as writes to the disk: done one after another, in order, on a
// goroutine of their own.
type Errands struct{ todo chan func() }

// NewErrands has room for so many that wait.
func NewErrands(most int) *Errands { return &Errands{make(chan func(), most)} }

// Do queues an errand; it waits only when there is no more room.
func (e *Errands) Do(f func()) { e.todo <- f }

// Close lets Run end when all is done.
func (e *Errands) Close() { close(e.todo) }

// Run does errands until Close.
func (e *Errands) Run() {
	for f := range e.todo {
		f()
	}
}
