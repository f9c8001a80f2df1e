//go:build linux

package reactor

import (
	"context"
	"fmt"
	"slices"
)

// Turned returns nil when every loop has turned once since it was called, and an error that names those that have not
// when ctx ends before: a handler holds them up, or nobody runs them. Loops that have ended count as turned. It is safe
// from any goroutine but a loop's own.
func (g *Group) Turned(ctx context.Context) error {
	turned := make(chan int, len(g.loops))
	var missing []int
	for _, l := range g.loops {
		if l.Post(func() { turned <- l.index }) {
			missing = append(missing, l.index)
		}
	}
	for len(missing) > 0 {
		select {
		case i := <-turned:
			missing = slices.DeleteFunc(missing, func(m int) bool { return m == i })
		case <-ctx.Done():
			// One that has ended meanwhile, with what was posted in its last turn, is not stuck.
			missing = slices.DeleteFunc(missing, func(m int) bool { return !g.loops[m].Post(func() {}) })
			if len(missing) > 0 {
				return fmt.Errorf("loops %d of %d do not turn", missing, len(g.loops))
			}
		}
	}
	return nil
}
