package admission

import (
	"sync"
	"time"

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
	pauses rate.Sometimes
	told   bool // of a pause that has not ended
}

// pauseInterval is how often the log hears that nobody can be accepted, at most: near the limit of descriptors every
// connection that ends lets one more in.
const pauseInterval = time.Minute

func newJournal(log logrus.FieldLogger) *journal {
	j := &journal{
		log: log, limit: rate.NewLimiter(linesPerSecond, linesBurst), pauses: rate.Sometimes{First: 1, Interval: pauseInterval},
	}
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

// paused tells that a loop cannot accept connections because of err, or can again when that is nil.
func (j *journal) paused(err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err == nil {
		if j.told {
			j.log.Warn("accepting connections again")
		}
		j.told = false
		return
	}
	j.pauses.Do(func() {
		j.told = true
		j.log.Errorf("cannot accept more connections (%v): those that come wait until others leave; "+
			"raise max_open_files and the unit's LimitNOFILE", err)
	})
}
