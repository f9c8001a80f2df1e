package main

import (
	"iter"
	"runtime"
	"strings"

	"github.com/sirupsen/logrus"
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
	l.always(logrus.InfoLevel, "SIGUSR1: the stacks of all goroutines follow")
	for line := range linesOf(buf[:n]) {
		l.always(logrus.InfoLevel, line)
	}
	l.always(logrus.InfoLevel, "SIGUSR1: end of stacks")
}

// linesOf yields the lines of a stack as the log can have them: without tabs, and without those that are empty.
func linesOf(stack []byte) iter.Seq[string] {
	return func(yield func(line string) bool) {
		for line := range strings.Lines(string(stack)) {
			line = strings.ReplaceAll(strings.TrimRight(line, "\n"), "\t", "    ")
			if line != "" && !yield(line) {
				return
			}
		}
	}
}
