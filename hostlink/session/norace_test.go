//go:build !race

package session

// schedules of TestModel.
const schedules = 10_000
