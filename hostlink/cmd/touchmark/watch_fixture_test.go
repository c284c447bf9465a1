package main

import "touchmark/hostlink/hostd/api"

// watched tells a watcher of a job that is signed, of another that is denied, and goes away; to each second one it says that the
// log contradicts the mirror.
func (f *fixture) watched(req *api.Request, say func(*api.Response)) {
	status := func(link string) *api.Status {
		return &api.Status{Origin: "log", Link: link, Board: "ready", Committed: 1, Days: -1}
	}
	job := func(state, problem string) []api.Job {
		return []api.Job{{Job: "0123456789abcdef0123", State: state, Class: "pacman-db", Names: []string{"core.db"}, Persons: []string{"alice"}, Need: 2, Error: problem}}
	}
	if f.watchers++; f.watchers%2 == 0 {
		s := status("up")
		if s.Evidence = "two logs"; req.From != 1 {
			s.Evidence = "it wants entries from another one on"
		}
		say(&api.Response{Status: s})
		return
	}
	say(&api.Response{Status: status("down: the cable is out"), Jobs: job(api.EventApprovals, "")})
	say(&api.Response{Status: status("up"), Jobs: job("shown", "")})
	say(&api.Response{Status: status("up"), Jobs: job("shown", "")})
	say(&api.Response{Entry: &api.Entry{Committed: true, Text: f.Entries[0]}})
	say(&api.Response{Status: status("up"), Jobs: job("signed", "")})
	say(&api.Response{Status: status("up"), Jobs: job("ended", "denied by the operator")})
}
