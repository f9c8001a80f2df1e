package masters

import (
	"maps"
	"time"

	"github.com/sirupsen/logrus"
)

// State is what is known of the masters at a moment.
type State struct {
	// Asked says that masters are asked whether they live.
	Asked bool
	// Cluster says that they are the peers of a cluster, which all serve.
	Cluster bool
	// Serving is the name of the one that serves, "" of a cluster, and Since when it began to.
	Serving string
	Since   time.Time
	// Moves counts by reason how often another master began to serve. All reasons are there.
	Moves map[Reason]uint64
	// Masters are the list, in the order that holds.
	Masters []MasterState
}

// MasterState is one of them.
type MasterState struct {
	Name    string
	Serving bool
	Health  Health
	Since   time.Time // when Health became what it is; zero: it never did
	// Key is the fingerprint of its public key, as `salt-key -F master` shows it; "" while no reply has carried it
	// past.
	Key   string
	Paths []PathState
}

// PathState is one road to a master.
type PathState struct {
	Path
	Health Health
	Since  time.Time
	// Requests says that requests take this one while the master serves.
	Requests bool
	// Probes and Failures count since the path was configured.
	Probes, Failures uint64
	// Latency is how long the last good answer to a ping took, or was waited for in vain while the master answered
	// others; 0: there was none.
	Latency time.Duration
	// LastError is why the last probe that failed did; nil: none did. It stays when the master is back.
	LastError error
}

// State returns what is known now. It is safe from any goroutine.
func (w *Watch) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := State{
		Asked: w.options.Interval > 0, Cluster: w.options.Cluster, Since: w.since, Moves: maps.Clone(w.moves),
	}
	if !s.Cluster {
		s.Serving = w.options.Masters[w.choice.serving].Name
	}
	for i, m := range w.options.Masters {
		c := w.choice.candidates[i]
		one := MasterState{Name: m.Name, Serving: m.Name == s.Serving, Health: c.is, Since: c.since, Key: w.keys.of[m.Name]}
		for j, h := range w.paths[i] {
			one.Paths = append(one.Paths, PathState{
				Path: m.Paths[j], Health: h.is, Since: h.since, Requests: j == w.routes[i].path, Probes: h.asked, Failures: h.failed, Latency: h.took, LastError: h.fault,
			})
		}
		s.Masters = append(s.Masters, one)
	}
	return s
}

// moved notes that another master serves, and tells the operator. trouble is when it began to look bad for the one
// before.
func (w *Watch) moved(from, to Master, why Reason, trouble time.Time) {
	now := time.Now()
	w.moves[why]++
	log := w.log.WithFields(logrus.Fields{"from": from.Name, "master": to.Name, "at": to.Paths[0].Request, "reason": why, "served": rounded(now.Sub(w.since))})
	if why == Failed {
		log = log.WithField("after", rounded(now.Sub(trouble)))
	}
	log.Info("another master serves")
	w.since = now
}

// report tells that a master has become up or down.
func (w *Watch) report(i int, before Health, now time.Time) {
	c := &w.choice.candidates[i]
	log := w.log.WithField("master", w.options.Masters[i].Name)
	switch {
	case c.is == Down:
		log.WithError(w.fault(i)).Warn("a master does not answer as it should, and counts as down")
	case c.is == Up && before == Down:
		log = log.WithField("down", rounded(now.Sub(c.fell)))
		if w.options.Cluster && c.held {
			log = log.WithField("held", w.choice.holdOf(c)) // as long as others keep its minions
		}
		log.Info("a master answers again")
	case c.is == Up:
		log.Info("a master answers")
	}
}

// reportBack tells that a peer of a cluster has its minions again.
func (w *Watch) reportBack(i int, now time.Time) {
	log := w.log.WithField("master", w.options.Masters[i].Name)
	log.WithField("up", rounded(now.Sub(w.choice.candidates[i].since))).Info("a master has its minions back")
}

// reportPath tells that one of several paths has become up or down.
func (w *Watch) reportPath(i, j int) {
	m, h := w.options.Masters[i], w.paths[i][j]
	if len(m.Paths) < 2 {
		return
	}
	log := w.log.WithFields(logrus.Fields{"master": m.Name, "path": m.Paths[j].Request})
	if h.is == Down {
		log.WithError(h.fault).Warn("a path to a master is down")
		return
	}
	log.Info("a path to a master is up")
}

// reportRoute tells that requests take another path to a master.
func (w *Watch) reportRoute(i, from int, failed bool) {
	m, to := w.options.Masters[i], w.routes[i].path
	why := "quicker"
	if failed {
		why = "failed"
	}
	w.log.WithFields(logrus.Fields{
		"master": m.Name, "from": m.Paths[from].Request, "path": m.Paths[to].Request, "reason": why,
		"took": rounded(w.paths[i][from].took), "takes": rounded(w.paths[i][to].took),
	}).Info("requests take another path to a master")
}

// reportNone tells once that no master of several is up, and once that one is again.
func (w *Watch) reportNone() {
	unknown := false
	for _, c := range w.choice.candidates {
		unknown = unknown || c.is == Unknown
	}
	none := w.up() == 0
	if len(w.choice.candidates) < 2 || none == w.none || none && unknown {
		return
	}
	w.none = none
	log := w.log.WithField("master", w.options.Masters[w.choice.serving].Name)
	switch {
	case none && w.options.Cluster:
		log.Warn("no peer of the cluster answers: what minions ask waits for the first that does, all are asked every 2 s")
		return
	case none:
		log.Warn("no master answers: the last one keeps the minions, all are asked every 2 s")
		return
	}
	log.Info("a master of the list answers again")
}

// fault is why a master is down: of its paths the last one's.
func (w *Watch) fault(i int) (err error) {
	for _, h := range w.paths[i] {
		if h.fault != nil {
			err = h.fault
		}
	}
	return err
}

func rounded(d time.Duration) string { return d.Round(time.Millisecond).String() }
