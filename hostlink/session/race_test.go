//go:build race

package session

// What TestModel and TestDisturbedAtEveryStep leave out with the race detector,
// which has nothing to find in a package without goroutines and takes its time:
// `make test` runs them in full without it.
const (
	schedules = 2000
	everyStep = 4
)
