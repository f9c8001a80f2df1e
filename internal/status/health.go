package status

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/retproxy"
)

// turnTimeout is how long an event loop may take to turn before it counts as stuck. It is less than what the command
// health waits altogether.
const turnTimeout = 600 * time.Millisecond

// What is looked at, as the field check of a reason has it.
const (
	CheckLoops        = "loops"         // every event loop turns
	CheckStopping     = "stopping"      // nobody has told the broker to stop
	CheckPublishPort  = "publish_port"  // minions can connect for publishes
	CheckRequestPort  = "request_port"  // and for requests
	CheckPublishLink  = "publish_link"  // the master is connected for publishes
	CheckRequestLinks = "request_links" // and for requests, from every loop
	CheckMasters      = "masters"       // the master that serves answers what it is asked (master_alive_interval)
)

// Verdict is the answer to a question of health.
type Verdict struct {
	OK bool `json:"ok"`
	// Reasons are why not; empty when it is good.
	Reasons []Reason `json:"reasons"`
}

// Reason is one thing that is wrong.
type Reason struct {
	Check string `json:"check"` // one of the names above
	Text  string `json:"text"`  // for an operator
}

func verdict(reasons []Reason) Verdict {
	if reasons == nil {
		reasons = []Reason{} // a list in JSON too
	}
	return Verdict{OK: len(reasons) == 0, Reasons: reasons}
}

// live says whether the loops turn: when they do not, nothing but starting again helps.
func (s *Server) live(ctx context.Context) Verdict {
	ctx, cancel := context.WithTimeout(ctx, turnTimeout)
	defer cancel()
	errs := make([]error, len(s.options.Turned))
	var asked sync.WaitGroup
	for i, turned := range s.options.Turned { // at the same time: who is stuck takes all of it
		asked.Go(func() { errs[i] = turned(ctx) })
	}
	asked.Wait()
	var reasons []Reason
	for _, err := range errs {
		if err != nil {
			reasons = append(reasons, Reason{CheckLoops, fmt.Sprintf("%v: stuck for %v, or the machine is overloaded", err, turnTimeout)})
		}
	}
	return verdict(reasons)
}

// ready says whether minions are served: the broker lives, both ports are open and the master is there.
func (s *Server) ready(ctx context.Context) Verdict {
	return s.serves(s.live(ctx))
}

func (s *Server) serves(live Verdict) Verdict {
	reasons := slices.Clone(live.Reasons)
	p, r := s.options.Publish(), s.options.Request()
	closed := "the port %v takes no connections: its channel starts again (see the log), or on_master_loss has closed it"
	if s.stopping.Load() {
		closed = "the port %v takes no connections any more"
		reasons = append(reasons, Reason{CheckStopping, "salt-broker has been told to stop: requests under way may still be answered (drain_timeout)"})
	}
	if !p.Open {
		reasons = append(reasons, Reason{CheckPublishPort, fmt.Sprintf(closed, s.options.PublishAddr)})
	}
	if !r.Open {
		reasons = append(reasons, Reason{CheckRequestPort, fmt.Sprintf(closed, s.options.RequestAddr)})
	}
	if !p.Master.Connected {
		reasons = append(reasons, Reason{CheckPublishLink, away(p.Master, "publishes")})
	}
	if links := needed(&r); len(links) == 0 || len(downOf(links)) > 0 {
		text := "there is no link to the master for requests"
		if down := downOf(links); len(down) > 0 {
			text = fmt.Sprintf("%d of %d links are down: %s", len(down), len(links), away(down[0], "requests"))
		}
		reasons = append(reasons, Reason{CheckRequestLinks, text})
	}
	if text := unanswered(s.options.Masters()); text != "" {
		reasons = append(reasons, Reason{CheckMasters, text})
	}
	return verdict(reasons)
}

// unanswered says that the master which serves does not answer, and that no other one does, or it would serve; "" when it
// does, or has not been asked yet.
func unanswered(all masters.State) string {
	if all.Cluster {
		return unansweredBy(all.Masters)
	}
	for _, m := range all.Masters {
		if !m.Serving || m.Health != masters.Down {
			continue
		}
		text := fmt.Sprintf("the master %s has not answered as it should since %s", m.Name, m.Since.UTC().Format(time.RFC3339))
		for _, p := range m.Paths {
			if p.LastError != nil {
				text += ": " + p.LastError.Error()
			}
		}
		if len(all.Masters) > 1 {
			text += "; nor does another one"
		}
		return text
	}
	return ""
}

// unansweredBy says that no peer of a cluster answers.
func unansweredBy(peers []masters.MasterState) string {
	text := "no peer of the cluster answers as it should"
	for _, m := range peers {
		if m.Health != masters.Down {
			return ""
		}
		text += fmt.Sprintf("; %s has not since %s", m.Name, m.Since.UTC().Format(time.RFC3339))
		for _, p := range m.Paths {
			if p.LastError != nil {
				text += ": " + p.LastError.Error()
			}
		}
	}
	return text
}

// needed are the links that requests take: those to the peers of a cluster that serve. Where none does they are all of them,
// for the first that is back.
func needed(r *retproxy.Stats) (links []master.State) {
	for _, p := range r.Peers {
		if p.Serves && !p.Leaving {
			links = append(links, p.Links...)
		}
	}
	if len(links) == 0 {
		return r.Links
	}
	return links
}

func downOf(links []master.State) (down []master.State) {
	for _, l := range links {
		if !l.Connected {
			down = append(down, l)
		}
	}
	return down
}

// away says that a link is down, and why.
func away(s master.State, what string) string {
	text := fmt.Sprintf("the master %s is not connected for %s since %s", s.Master, what, s.Since.UTC().Format(time.RFC3339))
	if s.LastError != nil {
		text += ": " + s.LastError.Error()
	}
	return text
}
