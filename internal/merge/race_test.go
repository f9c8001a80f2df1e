//go:build race

package merge

// raced says that the race detector makes everything slow. It has little to find here.
const raced = true
