//go:build race

package session

// schedules: a fifth with the race detector, which has nothing to find in a
// package without goroutines and takes its time; `make test` runs all without it.
const schedules = 2000
