package master

import (
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"salt-broker/internal/zmtp"
)

// warnEvery is the least time between two warnings about a master that accepts connections and soon ends them.
const warnEvery = time.Minute

// reporter tells the operator about changes, not about attempts: one warning when the master is gone, one line when it
// is back. A master that keeps coming and going within moments is warned about once in warnEvery.
type reporter struct {
	log     logrus.FieldLogger
	settled time.Duration // a connection that lived this long was a good one

	greeted bool      // it has been connected once
	warned  bool      // the last thing said is that it is gone
	at      time.Time // of the last warning; zero when the next one is due at once
	down    time.Time // since when there is no connection
}

// failed is told of each attempt that failed and each connection that ended. lived is how long there was a connection,
// pause how long until the next attempt.
func (r *reporter) failed(now time.Time, err error, lived, pause time.Duration) {
	if lived >= r.settled {
		r.at = time.Time{}
	}
	if lived > 0 || r.down.IsZero() {
		r.down = now
	}
	log := r.log.WithError(err).WithField("pause", pause.Round(time.Millisecond).String())
	switch {
	case r.warned || !r.at.IsZero() && now.Sub(r.at) < warnEvery:
		log.Debug("attempt to reach the master failed")
		return
	case lived > 0:
		log.Warn("lost the master; dialing again until it is back")
	default:
		log.Warn("master unreachable; dialing again until it answers")
	}
	r.warned, r.at = true, now
}

// connected is told of each handshake.
func (r *reporter) connected(now time.Time, addr netip.AddrPort, v zmtp.Version, attempts uint64) {
	log := r.log.WithFields(logrus.Fields{"remote": addr.String(), "zmtp": v.String(), "attempts": attempts})
	switch {
	case r.warned:
		log.WithField("down", now.Sub(r.down).Round(time.Millisecond).String()).Info("master is back")
	case !r.greeted:
		log.Info("connected to the master")
	default:
		log.Debug("connected to the master again")
	}
	r.greeted, r.warned = true, false
}

// nowhere swallows the lines of a link that was given no logger.
type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
