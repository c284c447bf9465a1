package queue

import (
	"time"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/outcome"
	"touchmark/hostlink/hostd/request"
	"touchmark/hostlink/hostd/spool"
	"touchmark/hostlink/hostd/waiter"
	"touchmark/hostlink/message"
)

// Job is one request to the appliance, from its arrival until it is decided and
// its client has the answer. It belongs to the loop. Clients come and go: the
// job is what is left when the daemon or a client is restarted.
type Job struct {
	*request.Request
	waiters waiter.Group

	record    *spool.Record  // nil until it was accepted
	proof     *outcome.Proof // of its intent, once a checkpoint covers that
	kept      bool           // the record is durable: the client was told
	submitted bool           // in this session
	ever      bool           // in any session, of an earlier daemon too: the board may know it
	asked     time.Time      // host time of the newest submission
	awaited   bool           // resumed, and its client may still come back
	notBefore time.Time      // host time of the next submission at the earliest
	plainHead bool           // commit to the proven head only
	cancels   int            // how often the board dropped it unasked
	ending    *api.Response  // after a cancel: the answer if the board confirms or is silent
	extended  bool           // the client's timeout has passed, but the job is armed
	doubts    int            // how often the log's answer did not verify and was asked for again
	said      bool           // that it is armed
	hint      api.Event      // what the board said last
	earlier   bool           // joined by another request for the same
	timer     *time.Timer
}

// id is the job's identity, zero before it was accepted.
func (j *Job) id() message.JobID {
	if j.record == nil {
		return message.JobID{}
	}
	return j.record.Job
}

// tell passes a hint on to whoever waits.
func (j *Job) tell(state, text string) { j.emit(api.Event{State: state, Text: text}) }

func (j *Job) hear(m *message.Event) {
	j.emit(api.Event{State: m.State, Item: m.Item, Seconds: m.Seconds})
}

func (j *Job) emit(e api.Event) {
	if j.record != nil {
		e.Job = j.record.Job.String()
	}
	j.hint = e
	j.waiters.Emit(e)
}

// answer gives everybody who waits the last word.
func (j *Job) answer(resp *api.Response) {
	if j.record != nil {
		resp.Job = j.record.Job.String()
	}
	resp.Earlier = j.earlier
	j.waiters.Answer(resp)
}

// facts are what is told of an accepted job however it goes.
func (j *Job) facts() api.Job {
	a := api.Job{Job: j.id().String(), Class: j.Class, Created: j.record.Created.Format(time.RFC3339), Deadline: j.record.Deadline.Format(time.RFC3339)}
	for _, it := range j.Items {
		a.Names = append(a.Names, it.Name)
	}
	return a
}
