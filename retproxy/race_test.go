//go:build race

package retproxy

// raceDetector says whether allocations are its own too.
const raceDetector = true
