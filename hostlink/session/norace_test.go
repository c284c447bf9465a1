//go:build !race

package session

const (
	schedules = 10_000 // of TestModel
	everyStep = 1      // of TestDisturbedAtEveryStep
)
