package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"salt-broker/internal/sim"
)

const (
	// patience is how long everything may take to work again after the last fault. Seconds are meant; a machine that has
	// much else to do gets some more.
	patience = 20 * time.Second
	// room is what the heap may grow by: the log, buffers of minions, the stand-ins' own.
	room = 256 << 20
)

// TestFixedSeeds is the short form.
func TestFixedSeeds(t *testing.T) {
	seeds := []uint64{1, 2, 3, 4}
	if s := os.Getenv("SALT_BROKER_CHAOS_SEED"); s != "" {
		seed, err := strconv.ParseUint(s, 10, 64)
		must(t, err)
		seeds = []uint64{seed}
	}
	for _, seed := range seeds {
		if !t.Run(fmt.Sprint(seed), func(t *testing.T) { chaos(t, plan{seed}, 700*time.Millisecond) }) {
			return // what it has left behind would disturb the next
		}
	}
}

// chaos runs a plan for a while, lets the faults end, and has everything work again.
func chaos(t *testing.T, p plan, last time.Duration) {
	t.Helper()
	defer func() {
		if t.Failed() {
			t.Logf("SALT_BROKER_CHAOS_SEED=%d; %+v", p.seed, p.site())
		}
	}()
	descriptors, heap := openDescriptors(t), heapBytes()
	s, j := p.site(), newJournal()

	o := s.master()
	o.OnRequest = j.atMaster
	m, err := sim.StartMaster(o)
	must(t, err)
	var all [wires]*wire
	for i := range all {
		all[i] = newWire(t, p, i)
	}
	b := startBroker(t, s, all[masterPublish], all[masterRequest])
	all[minionPublish].aim(b.publish.Addr())
	all[minionRequest].aim(b.request.Addr())
	all[masterPublish].aim(m.PublishAddr())
	all[masterRequest].aim(m.RequestAddr())

	mo := s.minions()
	mo.Publish, mo.Request = all[minionPublish].addr(), all[minionRequest].addr()
	mo.OnJob, mo.OnFault, mo.OnReply = j.job, j.fault, j.reply
	crowd, err := sim.StartMinions(mo)
	must(t, err)
	wo := s.minions()
	wo.Count, wo.First, wo.Shape = witnesses, firstWitness, sim.Kept
	wo.KeepOnTimeout = true // or they would cut their connections themselves
	wo.Publish, wo.Request = b.publish.Addr(), b.request.Addr()
	wo.OnJob, wo.OnFault, wo.OnReply = j.job, j.fault, j.reply
	watching, err := sim.StartMinions(wo)
	must(t, err)

	stop, quiet := make(chan struct{}), make(chan struct{})
	var acting sync.WaitGroup
	acting.Go(func() { publish(m, s, quiet) })
	acting.Go(func() { observe(t, b, s, heap, stop) })
	silences := act(t, p, m, crowd, last)

	for _, w := range all {
		w.heal()
	}
	close(quiet) // the job that has to reach all does not wait behind others
	healed := time.Now()
	again(t, j, m, b, s, crowd, watching)
	t.Logf("everything works again after %v", time.Since(healed).Round(time.Millisecond))
	close(stop)
	acting.Wait()

	check(t, j, m, b, crowd, watching, s, silences+int(all[masterPublish].accepted.Load()))
	for _, end := range []func() error{crowd.Stop, watching.Stop} {
		must(t, end())
	}
	b.stop(t)
	must(t, m.Stop())
	for _, w := range all {
		w.close()
	}
	goleak.VerifyNone(t)
	eventually(t, "all descriptors are closed", func() bool { return openDescriptors(t) <= descriptors })
}

// publish has the master publish until stop.
func publish(m *sim.Master, s site, stop <-chan struct{}) {
	every := 5*time.Millisecond + time.Duration(s.jobBytes)*1000
	tick := time.NewTicker(every)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-tick.C:
			if s.filtering && n%3 == 0 {
				m.PublishJob([]byte(sim.Topic(sim.MinionID(n % minions))))
			}
			m.PublishJob(s.broadcast())
		}
	}
}

func (s site) broadcast() []byte {
	if s.filtering {
		return []byte(sim.Broadcast)
	}
	return nil
}

// observe checks until stop what must always be so.
func observe(t *testing.T, b *broker, s site, heap uint64, stop <-chan struct{}) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
			// The loops are asked one after the other; a place that moves from one to the next may be seen twice.
			if n := b.request.Stats().InFlight; n > maxInFlight && s.loops == 1 {
				t.Errorf("%d requests are at the master, at most %d may be", n, maxInFlight)
				return
			}
			if used := b.buffers.Used(); used > maxBuffered {
				t.Errorf("%d bytes are buffered", used)
				return
			}
			if now := heapBytes(); now > heap+room {
				t.Errorf("the heap has grown from %d bytes to %d", heap, now)
				return
			}
		}
	}
}

// act does the plan's events for so long, and undoes all. It returns how often the master was silent or away, each of which
// may lose publishes.
func act(t *testing.T, p plan, m *sim.Master, crowd *sim.Minions, last time.Duration) (silences int) {
	t.Helper()
	end := time.NewTimer(last)
	defer end.Stop()
	pause := func(d time.Duration) bool {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			return true
		case <-end.C:
			return false
		}
	}
	for n := 0; ; n++ {
		e := p.event(n, minions)
		if !pause(e.wait) {
			return silences
		}
		silences++
		ended := false
		switch e.kind {
		case restart:
			must(t, m.Leave())
			ended = !pause(e.last)
			must(t, m.Start())
		case mute:
			m.Mute(true)
			ended = !pause(e.last)
			m.Mute(false)
		case drop:
			m.DropConnections()
		case deafen:
			crowd.PauseReading(e.minion)
			ended = !pause(e.last)
			crowd.ResumeReading(e.minion)
		}
		if ended {
			return silences
		}
	}
}

// again waits until everything works: a job reaches all, and everybody gets replies.
func again(t *testing.T, j *journal, m *sim.Master, b *broker, s site, crowd, watching *sim.Minions) {
	t.Helper()
	j.forgetReplies()
	crowd.AskAll()
	watching.AskAll()
	healed := time.Now()
	defer func() {
		if t.Failed() {
			t.Logf("minions without a reply: %v\n%+v\n%+v\n%+v\n%+v", j.unanswered(), crowd.Stats(), watching.Stats(), m.Stats(), b.request.Stats())
		}
	}()
	eventually(t, "everybody has a reply", func() bool { return len(j.unanswered()) == 0 })
	t.Logf("everybody has a reply after %v", time.Since(healed).Round(time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	must(t, crowd.AwaitSubscribed(ctx, minions))
	eventually(t, "a job reaches all", func() bool {
		job := m.PublishJob(s.broadcast())
		short, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		return crowd.AwaitArrived(short, job.Order, minions) == nil && watching.AwaitArrived(short, job.Order, witnesses) == nil
	})
}

// check looks at what everybody has seen. Breaks is how often publishes may have been lost before they came to the broker.
func check(t *testing.T, j *journal, m *sim.Master, b *broker, crowd, watching *sim.Minions, s site, breaks int) {
	t.Helper()
	for _, seen := range []sim.MinionsStats{crowd.Stats(), watching.Stats()} {
		if bad := seen.Faults() - seen.Missed; bad > 0 {
			t.Errorf("%d minions: %d faults, first %v: %+v", seen.Minions, bad, seen.FirstFault, seen)
		}
	}
	if w := watching.Stats(); w.Cut+w.Broken+w.Failed > 0 {
		t.Errorf("witnesses lost their connections, which nobody disturbs: %+v", w)
	}
	publishes, requests, master := b.publish.Stats(), b.request.Stats(), m.Stats()
	if master.Malformed+master.Foreign+master.Refused > 0 {
		t.Errorf("the master got what no minion has sent: %+v", master)
	}
	// A request whose place was given up may still be at the master.
	if most := maxInFlight + int(requests.LostWithLink+requests.Overdue); master.MostUnderWay > most {
		t.Errorf("%d requests were at the master at a time, at most %d may have been", master.MostUnderWay, most)
	}
	j.check(t, publishes.Lost, uint64(breaks)+master.Dropped)
	if testing.Verbose() {
		t.Logf("%d publishes came, %d deliveries, %d lost, %d behind; %d requests, %d replies, %d lost with links, %d overdue, %d unwanted",
			publishes.Publishes, publishes.Deliveries, publishes.Lost, publishes.Behind,
			requests.Requests, requests.Replies, requests.LostWithLink, requests.Overdue, requests.Unwanted)
		t.Logf("ends of minions: %v, %v", publishes.Ends, requests.Ends)
	}
}

// journal is what minions and master tell.
type journal struct {
	mu      sync.Mutex
	asked   map[[2]uint64]int           // requests of a minion, by number: how often the master saw them
	jobs    map[int]map[uint64]struct{} // of everyone: those that came, by Serial
	gaps    []sim.Gap
	replied map[int]bool
}

func newJournal() *journal {
	return &journal{asked: map[[2]uint64]int{}, jobs: map[int]map[uint64]struct{}{}, replied: map[int]bool{}}
}

func (j *journal) atMaster(minion int, request uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.asked[[2]uint64{uint64(minion), request}]++
}

func (j *journal) job(minion int, job sim.Job) {
	if job.Series != 0 {
		return // to one minion: nobody else can witness it
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.jobs[minion] == nil {
		j.jobs[minion] = map[uint64]struct{}{}
	}
	j.jobs[minion][job.Serial] = struct{}{}
}

func (j *journal) fault(minion int, err error) {
	var gap *sim.Gap
	if minion < firstWitness && errors.As(err, &gap) && gap.Before.Series == 0 {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.gaps = append(j.gaps, *gap)
	}
}

func (j *journal) reply(minion int, _ time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.replied[minion] = true
}

func (j *journal) forgetReplies() {
	j.mu.Lock()
	defer j.mu.Unlock()
	clear(j.replied)
}

// unanswered returns the numbers of those who have had no reply since forgetReplies.
func (j *journal) unanswered() (numbers []int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for n := range minions + witnesses {
		if n >= minions {
			n += firstWitness - minions
		}
		if !j.replied[n] {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// check compares everybody with the first witness. Lost is what the broker says it dropped, breaks how often publishes may
// have been lost before they came to the broker.
func (j *journal) check(t *testing.T, lost, breaks uint64) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for request, times := range j.asked {
		if times > 1 {
			t.Errorf("request %d of minion %d came to the master %d times", request[1], request[0], times)
		}
	}
	var unexplained uint64
	for _, gap := range j.gaps {
		for serial := gap.Before.Serial - gap.Serials; serial < gap.Before.Serial; serial++ {
			if j.witnessed(serial) {
				unexplained++
			}
		}
	}
	if unexplained > lost {
		t.Errorf("minions whose connections were not cut miss %d publishes that the broker had, and it has counted %d", unexplained, lost)
	}
	var first, newest uint64 = 1 << 63, 0
	for serial := range j.jobs[firstWitness] {
		first, newest = min(first, serial), max(newest, serial)
	}
	var holes uint64
	var missing uint64
	for minion, came := range j.jobs {
		for serial := range came {
			if serial > first && serial < newest && !j.witnessed(serial) {
				t.Errorf("job %d came to minion %d and to no witness", serial, minion)
			}
		}
	}
	before := true
	for serial := first; serial <= newest; serial++ {
		now := j.witnessed(serial)
		if before && !now {
			holes++
		}
		before = now
		for w := firstWitness; w < firstWitness+witnesses; w++ {
			if _, came := j.jobs[w][serial]; now && !came && serial > first {
				missing++
			}
		}
	}
	if missing > lost {
		t.Errorf("witnesses miss %d publishes that others have, and the broker has counted %d", missing, lost)
	}
	if holes > breaks {
		t.Errorf("publishes are missing %d times, and the way from the master was broken %d times", holes, breaks)
	}
}

// witnessed says whether any witness has had the job, so the broker had it.
func (j *journal) witnessed(serial uint64) bool {
	for w := firstWitness; w < firstWitness+witnesses; w++ {
		if _, came := j.jobs[w][serial]; came {
			return true
		}
	}
	return false
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	must(t, err)
	return len(entries)
}

func heapBytes() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits for what nothing announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not after %v: %s", patience, what)
		}
	}
}
