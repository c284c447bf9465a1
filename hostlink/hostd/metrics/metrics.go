// Package metrics tells Prometheus how the daemon does: link, appliance, log, jobs,
// rounds, and the process itself, in Prometheus' text form over HTTP.
//
// A scrape reads what the daemon knows; the board is not asked, so scraping costs
// no TPM signature and no wear. The listener is on the loopback or a unix socket:
// names of files and hosts are nowhere in it, but how a repository works is. What
// the metrics are called and mean is a promise; the host guide lists them.
package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"touchmark/hostlink/hostd/api"
	"touchmark/hostlink/hostd/queue"
)

// Source is what is asked at each scrape; either may return nil.
type Source struct {
	Now    func() *api.Response // status and open jobs (hostd.Daemon.Snapshot)
	Rounds func() []api.Round   // nil: there are no rules
	Clock  func() time.Time
}

// Metrics is a registry with the daemon's metrics.
type Metrics struct {
	registry *prometheus.Registry
	source   Source
	requests *prometheus.CounterVec
	ended    *prometheus.GaugeVec // what alerts look at: a counter's first event is no increase
	files    *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

// New makes the metrics. Set tells where they come from before the first scrape.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "touchmark_requests_total", Help: "Requests that ended, by policy class and result."}, []string{"class", "result"}),
		ended:    prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "touchmark_request_ended_timestamp_seconds", Help: "When a request last ended in this way, in seconds since 1970."}, []string{"result"}),
		files:    prometheus.NewCounterVec(prometheus.CounterOpts{Name: "touchmark_files_signed_total", Help: "Files whose signature was given out, by policy class."}, []string{"class"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "touchmark_signed_seconds", Help: "Time from the acceptance of a request to its signatures, by policy class.",
			Buckets: []float64{1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600}}, []string{"class"}),
	}
	m.registry.MustRegister(m.requests, m.ended, m.files, m.seconds, state{m}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Set says where the state comes from.
func (m *Metrics) Set(s Source) { m.source = s }

// Ended counts a request; it is hostd's Options.Ended.
func (m *Metrics) Ended(e queue.Ended) {
	m.requests.WithLabelValues(e.Class, result(e.Code)).Inc()
	m.ended.WithLabelValues(result(e.Code)).SetToCurrentTime()
	if e.Code == api.OK {
		m.files.WithLabelValues(e.Class).Add(float64(e.Files))
		m.seconds.WithLabelValues(e.Class).Observe(e.Took.Seconds())
	}
}

// results are the exit codes of touchmark, as words.
var results = map[int]string{
	api.OK: "signed", api.Usage: "bad-request", api.BadInput: "bad-request", api.LinkDown: "link-down", api.Refused: "refused", api.Denied: "denied",
	api.TimedOut: "timed-out", api.DeviceFault: "device-fault", api.Evidence: "evidence", api.MaySigned: "may-be-signed", api.CannotWrite: "cannot-write",
	api.Interrupted: "withdrawn",
}

func result(code int) string {
	if r, ok := results[code]; ok {
		return r
	}
	return "internal-error"
}

// gauge describes one metric of the state.
func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("touchmark_"+name, help, labels, nil)
}

var (
	up        = gauge("link_verified", "1 if there is a verified conversation with the appliance.")
	appliance = gauge("appliance_state", "1 for the state that the appliance says it is in; halt is its halt state.", "state", "halt")
	age       = gauge("appliance_proof_age_seconds", "How long ago the appliance proved what is known of it.")
	refusing  = gauge("refusing", "1 if no request is taken, whatever the link does.")
	evidence  = gauge("evidence", "1 if the log contradicts this host's mirror: nothing is signed until a person has looked.")
	writes    = gauge("tpm_nv_writes_total", "Writes of the appliance's TPM memory.")
	days      = gauge("tpm_nv_days", "Days until that memory may be worn out at the present rate, at the earliest.")
	entries   = gauge("log_entries", "Entries of the log: committed (TPM took them), mirrored here, published.", "part")
	jobs      = gauge("jobs", "Open jobs by state.", "state")
	oldest    = gauge("job_oldest_seconds", "Age of the oldest open job, 0 if there is none.")
	roundWait = gauge("round_waiting_seconds", "How long a snapshot of a watched repository has been waiting for signatures, 0 if none does.", "rule")
	missed    = gauge("round_missed", "Rounds of a watched repository in a row that ended without its signatures.", "rule")
	alarm     = gauge("round_alarm", "1 if something is wrong with a watched repository: touchmark round says what.", "rule")
	published = gauge("round_published", "Number of the snapshot of a watched repository that is published, 0 for none.", "rule")
)

// state collects what the daemon knows at the moment of a scrape.
type state struct{ m *Metrics }

// Describe names the metrics.
func (state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{up, appliance, age, refusing, evidence, writes, days, entries, jobs, oldest, roundWait, missed, alarm, published} {
		ch <- d
	}
}

// Collect reads them.
func (s state) Collect(ch chan<- prometheus.Metric) {
	set := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	now := s.m.source.Clock()
	if s.m.source.Now != nil {
		if r := s.m.source.Now(); r != nil && r.Status != nil {
			ofStatus(set, r.Status)
			ofJobs(set, r.Jobs, now)
			if r.Status.Board != "" {
				ch <- prometheus.MustNewConstMetric(writes, prometheus.CounterValue, float64(r.Status.Writes))
			}
		}
	}
	if s.m.source.Rounds == nil {
		return
	}
	for _, r := range s.m.source.Rounds() {
		set(roundWait, since(r.Waiting, now), r.Rule)
		set(missed, float64(r.Missed), r.Rule)
		set(alarm, truth(r.Alarm != ""), r.Rule)
		set(published, float64(r.Published), r.Rule)
	}
}

type setter func(d *prometheus.Desc, v float64, labels ...string)

func ofStatus(set setter, s *api.Status) {
	set(up, truth(s.Verified))
	set(refusing, truth(s.Refuses != ""))
	set(evidence, truth(s.Evidence != ""))
	set(entries, float64(s.Committed), "committed")
	set(entries, float64(s.Mirrored), "mirrored")
	set(entries, float64(s.Published), "published")
	if s.Board == "" {
		return
	}
	set(appliance, 1, s.Board, s.Halt)
	set(age, float64(s.Age))
	if s.Days >= 0 {
		set(days, float64(s.Days))
	}
}

func ofJobs(set setter, list []api.Job, now time.Time) {
	count, longest := map[string]int{}, 0.0
	for _, j := range list {
		count[j.State]++
		longest = max(longest, since(j.Created, now))
	}
	for state, n := range count {
		set(jobs, float64(n), state)
	}
	set(oldest, longest)
}

// since is how long ago a time in RFC 3339 was; 0 for none, and for the future.
func since(text string, now time.Time) float64 {
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return 0
	}
	return max(0, now.Sub(t).Seconds())
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
