//go:build !race

package retproxy

const raceDetector = false
