package hostd

// errands are done one after another, in order, on a goroutine of their own.
type errands struct{ todo chan func() }

func newErrands() *errands { return &errands{make(chan func(), maxErrands)} }

// do queues an errand; it waits only when the disk is far behind.
func (e *errands) do(f func()) { e.todo <- f }

// close lets run end when all is done.
func (e *errands) close() { close(e.todo) }

func (e *errands) run() {
	for f := range e.todo {
		f()
	}
}
