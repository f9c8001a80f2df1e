//go:build !race

package pubproxy

const raceEnabled = false
