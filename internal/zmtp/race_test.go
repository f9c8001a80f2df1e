//go:build race

package zmtp

// underRace: the race detector allocates, and makes sync.Pool forget at random.
const underRace = true
