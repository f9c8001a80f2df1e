package supervise

import (
	"errors"
	"iter"
	"strings"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/reactor"
)

// Lines yields the lines of a stack as a log can have them: without tabs, and without those that are empty.
func Lines(stack []byte) iter.Seq[string] {
	return func(yield func(line string) bool) {
		for line := range strings.Lines(string(stack)) {
			line = strings.ReplaceAll(strings.TrimRight(line, "\n"), "\t", "    ")
			if line != "" && !yield(line) {
				return
			}
		}
	}
}

// logPanics logs what has panicked below err, each with its stack, at logrus' fatal level: Log does not exit, in
// contrast to Fatal. Several loops of a channel can panic at the same time.
func logPanics(log Logger, name string, err error) {
	var panicked *reactor.PanicError
	switch joined, ok := err.(interface{ Unwrap() []error }); {
	case ok:
		for _, one := range joined.Unwrap() {
			logPanics(log, name, one)
		}
	case errors.As(err, &panicked):
		log.Log(logrus.FatalLevel, name+": "+panicked.Error())
		for line := range Lines(panicked.Stack) {
			log.Log(logrus.FatalLevel, line)
		}
	}
}
