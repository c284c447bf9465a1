package station

import (
	"encoding/hex"
	"slices"
	"time"

	"touchmark/appliance/ceremony"
	"touchmark/appliance/operator"
	"touchmark/appliance/station/meaning"
)

// maxRecent is how many of the requests before are on display.
const maxRecent = 10

// details fills in what the display says beside what is asked.
func (s *Station) details() {
	v := &s.view
	v.Clock, v.LogTime = "", s.past.LastTime
	if s.clock.Confirmed() {
		v.Clock = s.clock.Vouched()
	}
	v.TPM, v.Device, v.Alarm = s.standing().TPM(), s.token.Device(), s.alarm
	v.Sealed, v.Head = s.chain.Size, ""
	if s.chain.Head != [32]byte{} {
		v.Head = hex.EncodeToString(s.chain.Head[:])
	}
	v.Left = s.left(time.Now())
	v.Rounds, v.MoreRounds = s.rounds.Shown()
	v.Recent, v.Waiting = s.recent, nil
	for _, j := range s.queue {
		v.Waiting = append(v.Waiting, operator.Waiting{ID: j.id.String(), Class: j.grant.Class, Host: j.request.Host, Items: len(j.items)})
	}
}

// left is for how many seconds what is asked will be.
func (s *Station) left(now time.Time) int {
	var until time.Time
	switch j, d := s.job, s.decree; {
	case j != nil && (j.phase() == ceremony.Touching || j.phase() == ceremony.Shown && j.order == nil):
		until = j.ceremony.Until()
	case j == nil && d != nil && d.state == decreeShown:
		until = d.until
	}
	return max(0, int((until.Sub(now)+time.Second-1)/time.Second))
}

// remember keeps how a host's request ended, for the display.
func (s *Station) remember(j *job, how string) {
	e := operator.Ended{ID: j.id.String(), Time: s.clock.Now(), Class: j.grant.Class, Host: j.request.Host, Items: len(j.items), End: how}
	s.recent = slices.Concat([]operator.Ended{e}, s.recent[:min(len(s.recent), maxRecent-1)])
}

// recall begins with what the log says of the requests before the start.
func (s *Station) recall() {
	for _, e := range s.past.Outcomes(maxRecent) {
		s.recent = append(s.recent, operator.Ended{ID: e.Job.String(), Time: e.Time, Class: e.Class, Host: e.Host, Items: len(e.Items), End: meaning.Recalled(e.Items)})
	}
}
