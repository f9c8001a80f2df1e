package admission

import (
	"sync"

	"github.com/sirupsen/logrus"
	"golang.org/x/time/rate"

	"salt-broker/internal/reactor"
)

// What peers can cause in the log: a burst, then one line a second; what is left out is counted and told with the next.
const (
	linesPerSecond = 1
	linesBurst     = 20
)

// journal writes lines about peers, as many as an operator can read.
type journal struct {
	log   logrus.FieldLogger
	debug func() bool
	limit *rate.Limiter

	mu     sync.Mutex
	silent int // lines left out since the last one
}

func newJournal(log logrus.FieldLogger) *journal {
	j := &journal{log: log, limit: rate.NewLimiter(linesPerSecond, linesBurst)}
	j.debug = func() bool { return false }
	switch l := log.(type) {
	case *logrus.Logger:
		j.debug = func() bool { return l.IsLevelEnabled(logrus.DebugLevel) }
	case *logrus.Entry:
		j.debug = func() bool { return l.Logger.IsLevelEnabled(logrus.DebugLevel) }
	}
	return j
}

// ended tells of a connection's end: usual ones to those who debug, others as warnings within the limit.
func (j *journal) ended(c *reactor.Conn, name string, reason error, usual bool) {
	if usual {
		if j.debug() {
			j.log.WithField("remote", c.RemoteAddr()).Debugf("connection ended: %v", reason)
		}
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.limit.Allow() {
		j.silent++
		return
	}
	entry := j.log.WithFields(logrus.Fields{"remote": c.RemoteAddr(), "reason": name})
	if j.silent > 0 {
		entry = entry.WithField("lines_left_out", j.silent)
		j.silent = 0
	}
	entry.Warnf("connection of %s closed: %v", c.RemoteAddr(), reason)
}
