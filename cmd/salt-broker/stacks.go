package main

import (
	"runtime"

	"salt-broker/internal/supervise"
)

// maxStacks is how much of all stacks is logged, in bytes. There are a few goroutines a loop, so it is plenty.
const maxStacks = 4 << 20

// stacks logs every goroutine's stack, a line each, whatever the levels are: somebody has asked for it just now
// (Salt: SIGUSR1, salt/utils/debug.py).
func (l *logging) stacks() {
	buf := make([]byte, 64<<10)
	n := runtime.Stack(buf, true)
	for n == len(buf) && len(buf) < maxStacks {
		buf = make([]byte, 2*len(buf))
		n = runtime.Stack(buf, true)
	}
	l.always("SIGUSR1: the stacks of all goroutines follow", nil)
	for line := range supervise.Lines(buf[:n]) {
		l.always(line, nil)
	}
	l.always("SIGUSR1: end of stacks", nil)
}
