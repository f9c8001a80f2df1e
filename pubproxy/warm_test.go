package pubproxy

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"salt-broker/internal/sim"
)

// heard is what minions have got, in order.
type heard struct {
	mu  sync.Mutex
	all [][]sim.Job // by minion
}

func (h *heard) job(minion int, j sim.Job) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all[minion] = append(h.all[minion], j)
}

// TestClusterOfMasters has masters publish the same jobs in a stream, the second later than the first or before it, and
// the first one killed, or mute, in the middle. Each minion gets each job that the second has published, at least once;
// what comes from one master comes in its order; and when the second one has begun nothing comes from the first.
func TestClusterOfMasters(t *testing.T) {
	const minions, jobs, middle = 20, 600, 300
	for _, procs := range []int{1, 4} {
		for _, end := range []string{"killed", "mute"} {
			for _, behind := range []int{0, 7, -7} {
				t.Run(fmt.Sprintf("GOMAXPROCS %d, %s, the second %d jobs behind", procs, end, behind), func(t *testing.T) {
					defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
					ctx, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					masters := [2]*sim.Master{newMaster(t, 1), newMaster(t, 2)}
					p := start(t, "", func(o *Options) {
						for i, m := range masters {
							to := o.Master
							to.Address = m.PublishAddr().String()
							o.Masters = append(o.Masters, Peer{Name: fmt.Sprint(i + 1), Master: to})
						}
					})
					h := &heard{all: make([][]sim.Job, minions)}
					crew, err := sim.StartMinions(sim.MinionsOptions{Count: minions, Publish: p.Addr(), OnJob: h.job})
					if err != nil {
						t.Fatal(err)
					}
					defer func() { _ = crew.Stop() }()
					for _, err := range []error{
						crew.AwaitSubscribed(ctx, minions), masters[0].AwaitSubscribed(ctx, "", 1), masters[1].AwaitSubscribed(ctx, "", 1),
					} {
						if err != nil {
							t.Fatal(err)
						}
					}
					eventually(t, p, "all minions are counted in", func(Stats) bool { return p.subscribed() == minions })

					for i := -7; i < jobs+7; i++ {
						switch {
						case i == middle && end == "killed":
							if err := masters[0].Leave(); err != nil {
								t.Fatal(err)
							}
						case i == middle && end == "mute":
							masters[0].Mute(true)
						case i == middle+50 && end == "mute": // it takes a while to see that
							p.SetHealthy("1", false)
						}
						for k, at := range []int{i, i - behind} {
							if at >= 0 && at < jobs {
								masters[k].PublishJob(nil)
							}
						}
						if i%10 == 0 {
							yield()
						}
					}
					if err := crew.AwaitArrived(ctx, jobs, minions); err != nil {
						t.Fatalf("%v; %+v", err, p.Stats())
					}
					h.check(t, jobs)
					if s := p.Stats(); s.Switches != 1 || s.Warm.Full+s.Warm.Left+s.Warm.Old > 0 || s.Lost > 0 {
						t.Errorf("%+v", s)
					}
				})
			}
		}
	}
}

func newMaster(t *testing.T, id uint32) *sim.Master {
	t.Helper()
	m, err := sim.StartMaster(sim.MasterOptions{ID: id})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Stop() })
	return m
}

// subscribed is how many minions have subscribed to everything.
func (p *Proxy) subscribed() (n int) {
	for _, f := range p.fanouts {
		count := make(chan int)
		f.loop.Post(func() { count <- len(f.current) })
		n += <-count
	}
	return n
}

func (h *heard) check(t *testing.T, jobs int) {
	t.Helper()
	h.mu.Lock()
	defer h.mu.Unlock()
	for minion, all := range h.all {
		has := make([]bool, jobs+1)
		var last sim.Job
		switched := 0
		for _, j := range all {
			if j.Master != last.Master {
				switched++
				last = sim.Job{}
			}
			if j.Order <= last.Order {
				t.Errorf("minion %d: job %d of master %d after %d", minion, j.Order, j.Master, last.Order)
			}
			has[j.Order], last = true, j
		}
		if switched != 2 {
			t.Errorf("minion %d: publishes changed %d times between masters", minion, switched)
		}
		for order := 1; order <= jobs; order++ {
			if !has[order] {
				t.Errorf("minion %d has missed job %d", minion, order)
			}
		}
		if t.Failed() {
			return
		}
	}
}
