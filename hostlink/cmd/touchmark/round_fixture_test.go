package main

import "touchmark/hostlink/hostd/api"

// rounds is a daemon with one rule, whose staging directory is arg; in mode denied the operator wants none of it, in mode
// late nobody came, in mode broken its directories are.
func rounds(req *api.Request, mode, arg string) *api.Response {
	o := api.Round{
		Rule: "core", Class: "db", Dir: arg, Into: "/srv/www/core", Published: 3, Snapshot: 4, Waiting: "2026-11-21T12:00:00Z", Next: "2026-11-21T18:00:00Z",
		Unsigned: []string{"a.db", "b.db", "c.db", "d.db", "e.db", "f.db"},
	}
	switch {
	case mode != "rounds" && mode != "denied" && mode != "late" && mode != "broken":
		return &api.Response{Final: true, Code: api.Usage, Error: "there are no rules"}
	case req.Action == api.RoundWait && mode == "denied":
		return &api.Response{Final: true, Code: api.Denied, Error: "denied by the operator: nothing was signed"}
	case req.Action == api.RoundWait:
		return &api.Response{Final: true, OK: true}
	case req.Action == api.RoundOpen, req.Action == api.RoundUrgent:
		o.Open, o.Until, o.Urgent = true, "2026-11-21T13:00:00Z", req.Action == api.RoundUrgent
	case mode == "late":
		o.Alarm, o.Stale, o.Why = "it has waited", true, "nobody came"
	case mode == "broken": // one that waits, and one that does not
		full := o
		full.Rule, full.Alarm = "extra", "no space left"
		o.Alarm, o.Waiting, o.Snapshot, o.Next, o.Always = "no such directory", "", 0, "", true
		return &api.Response{Final: true, OK: true, Rounds: []api.Round{full, o}}
	}
	return &api.Response{Final: true, OK: true, Rounds: []api.Round{o}}
}
