package masters

import "time"

const (
	// clearly and atLeast are by how much another path must be quicker than the one that requests take, as a part of
	// the latter's latency and as a time: to move costs a dial, and what is measured over a busy path goes up and down.
	clearly = 3 // two thirds of it at most
	atLeast = 5 * time.Millisecond
	// convinced is how often in a row that must be found.
	convinced = 3
	// curious is how often is looked while it is.
	curious = time.Second
)

// route is which of a master's paths requests take. The zero value is the first.
type route struct {
	path  int
	lead  int // another path that looks better
	found int // how often in a row that was found
}

// decide looks at the paths after one of them has been measured, and says whether requests take another one from now
// on, and whether because theirs has failed. One that is down is left at once for the quickest that is up beyond doubt.
// One that is up is left for one that has been clearly quicker several times in a row.
func (r *route) decide(paths []*path, measured int) (moved, failed bool) {
	best := -1
	for i, p := range paths {
		if p.is == Up && p.against == 0 && p.took > 0 && (best < 0 || p.took < paths[best].took) {
			best = i
		}
	}
	now := paths[r.path]
	switch {
	case best < 0 || best == r.path:
		r.found = 0
		return false, false
	case now.is == Down:
		*r = route{path: best}
		return true, true
	case now.is != Up || now.took-now.took/clearly < paths[best].took || now.took-paths[best].took < atLeast:
		r.found = 0
		return false, false
	case measured != r.path && measured != best:
		return false, false
	}
	if r.lead != best {
		r.lead, r.found = best, 0
	}
	if measured == r.path || r.found == 0 {
		r.found++
	}
	if r.found < convinced {
		return false, false
	}
	*r = route{path: best}
	return true, false
}

// undecided says whether the next measurement is of interest soon.
func (r *route) undecided() bool { return r.found > 0 }

// by is a master with the path first that requests take.
func (m Master) by(path int) Master {
	if path == 0 {
		return m
	}
	paths := append([]Path{m.Paths[path]}, m.Paths[:path]...)
	m.Paths = append(paths, m.Paths[path+1:]...)
	return m
}
