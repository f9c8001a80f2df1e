//go:build !race

package zmtp

const underRace = false
