//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"
)

// worker does the work of a scenario once, with one relay.
type worker struct {
	*crew
	scenario *scenario
	pace     pace
	cut      <-chan struct{}    // closed when the user has had enough
	values   map[string]float64 // by the keys of the scenario's metrics
	spent    usage              // while it was measured
	took     time.Duration
}

// measure reads the clocks before and after fn. What is still to be done then counts too, its time does not.
func (w *worker) measure(fn func() error) error {
	before, err := w.settle(w.pace.look)
	if err != nil {
		return err
	}
	began := time.Now()
	if err := fn(); err != nil {
		return err
	}
	w.took = time.Since(began)
	after, err := w.settle(w.pace.look)
	w.spent = after.since(before)
	return err
}

// each is the relay's processor time for one of n, in microseconds.
func (w *worker) each(n float64) float64 {
	return float64(w.spent.relay) / float64(time.Microsecond) / n
}

const (
	// atOnce is how many handshakes are under way where they are not what is measured, rushAtOnce where they are.
	atOnce     = 256
	rushAtOnce = 512
)

// listen connects the scenario's minions and makes sure that each can be reached.
func (w *worker) listen() error {
	if err := w.connect(w.scenario.minions, atOnce); err != nil {
		return err
	}
	return w.reach()
}

func (w *worker) connect(minions, atOnce int) error {
	return w.minions.call("Connect", Listeners{
		Port: w.relay.ports.Publish, Count: minions, AtOnce: atOnce, Filtered: w.scenario.topics, Patience: w.pace.patience,
		Rest: time.Duration(minions) * w.scenario.rest,
	}, &w.took)
}

// reach publishes until everybody has been reached: a subscription may take a while to arrive.
func (w *worker) reach() error {
	if w.scenario.topics {
		return w.reachTopics()
	}
	var err error
	for deadline := time.Now().Add(w.pace.patience); time.Now().Before(deadline); {
		var p Published
		err = w.master.call("Publish", Publishes{Count: 1, Window: 1, Bytes: smallBytes, Patience: time.Second}, &p)
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("not everybody can be reached: %w", err)
}

// reachTopics waits until the master has all topics, and has a publish at each.
func (w *worker) reachTopics() error {
	var master State
	for deadline := time.Now().Add(w.pace.patience); master.Subscribes < uint64(w.scenario.minions); time.Sleep(10 * time.Millisecond) {
		if err := w.master.call("State", struct{}{}, &master); err != nil {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d topics have come to the master", master.Subscribes, w.scenario.minions)
		}
	}
	if _, err := w.settle(w.pace.look); err != nil {
		return err
	}
	var p Published
	return w.master.call("Publish", Publishes{
		Count: w.scenario.minions, Window: streamWindow, Bytes: smallBytes, Topics: w.scenario.minions, Patience: w.pace.patience,
	}, &p)
}

// publish does a run of publishes, measured.
func (w *worker) publish(o Publishes) (p Published, err error) {
	o.Patience = w.pace.patience
	return p, w.measure(func() error { return w.master.call("Publish", o, &p) })
}

func stream(w *worker) error {
	if err := w.listen(); err != nil {
		return err
	}
	p, err := w.publish(Publishes{For: w.pace.stream, Bytes: smallBytes, Window: streamWindow})
	if err != nil {
		return err
	}
	deliveries := float64(p.Count) * float64(w.scenario.minions)
	w.values["cpu"] = w.each(deliveries)
	w.values["rate"] = deliveries / p.Took.Seconds()
	return nil
}

// quietPause is between single publishes: everybody sleeps again.
const quietPause = 10 * time.Millisecond

func single(w *worker, bytes int) error {
	if err := w.listen(); err != nil {
		return err
	}
	p, err := w.publish(Publishes{For: w.pace.single, Count: w.pace.singles, Bytes: bytes, Window: 1, Pause: quietPause})
	if err != nil {
		return err
	}
	spans, err := w.spans(p.Run)
	if err != nil {
		return err
	}
	w.values["cpu"] = w.each(float64(p.Count) * float64(w.scenario.minions))
	w.values["p50"], w.values["p99"] = milliseconds(quantile(spans, 0.50)), milliseconds(quantile(spans, 0.99))
	return nil
}

func (w *worker) spans(run uint32) (spans []time.Duration, err error) {
	return spans, w.minions.call("Spans", run, &spans)
}

func filtered(w *worker) error {
	if err := w.listen(); err != nil {
		return err
	}
	p, err := w.publish(Publishes{For: w.pace.stream, Bytes: smallBytes, Window: streamWindow, Topics: w.scenario.minions})
	if err != nil {
		return err
	}
	w.values["cpu"] = w.each(float64(p.Count))
	w.values["rate"] = float64(p.Count) / p.Took.Seconds()
	return nil
}

func closedLoop(w *worker, bytes int, short bool) error {
	err := w.minions.call("Ask", Askers{Port: w.relay.ports.Request, Count: w.scenario.askers, Bytes: bytes, Short: short, Patience: w.patience(bytes)}, &struct{}{})
	if err != nil {
		return err
	}
	time.Sleep(w.pace.warmUp)
	replied, err := w.count(w.pace.stream * time.Duration(1+3*bytes/largeBytes))
	if err != nil {
		return err
	}
	w.values["cpu"] = w.each(float64(replied.All.Count))
	w.values["rate"] = float64(replied.All.Count) / w.took.Seconds()
	w.values["p50"], w.values["p99"] = milliseconds(replied.All.P50), milliseconds(replied.All.P99)
	return w.minions.call("Rest", &struct{}{}, &struct{}{})
}

// patience is how long a minion waits for a reply: longer where gigabytes are under way.
func (w *worker) patience(bytes int) time.Duration {
	return w.pace.patience * time.Duration(1+w.scenario.askers*bytes>>29)
}

// count counts the replies that come for a while, or until the first one, with the clocks read at both ends: the work goes
// on.
func (w *worker) count(d time.Duration) (replied Replied, err error) {
	before, err := w.usage()
	for err == nil && replied.All.Count == 0 {
		time.Sleep(d)
		var after usage
		if after, err = w.usage(); err != nil {
			break
		}
		w.spent, w.took = after.since(before), after.at.Sub(before.at)
		if w.took > w.pace.patience {
			return replied, fmt.Errorf("no reply came in %s", w.took)
		}
		err = w.minions.call("Replied", [2]time.Time{before.at, after.at}, &replied)
	}
	return replied, err
}

func rush(w *worker) error {
	var took time.Duration
	err := w.measure(func() error {
		err := w.connect(w.scenario.minions, rushAtOnce)
		took = w.took
		return err
	})
	if err != nil {
		return err
	}
	w.values["cpu"] = w.each(float64(w.scenario.minions))
	w.values["rate"] = float64(w.scenario.minions) / took.Seconds()
	return w.reach() // none of them was lost on the way
}

func (w *worker) leave() error { return w.minions.call("Leave", &struct{}{}, &struct{}{}) }

func idle(w *worker) error {
	// A first few, so that what is made once is not counted as the others'.
	const first = 20
	if err := errors.Join(w.connect(first, first), w.reach(), w.leave()); err != nil {
		return err
	}
	time.Sleep(time.Second)
	before, err := memory(w.relay.pids()...)
	if err != nil {
		return err
	}
	if err := w.connect(w.scenario.minions, atOnce); err != nil {
		return err
	}
	grown := func(wait time.Duration) float64 {
		select {
		case <-time.After(wait):
		case <-w.cut:
		}
		now, errNow := memory(w.relay.pids()...)
		err = errors.Join(err, errNow)
		return float64(now - before)
	}
	const kb, mb = 1000, 1e6
	connections := float64(w.scenario.minions)
	w.values["memory"] = grown(time.Second) / connections / kb
	w.values["later"] = grown(w.pace.rest) / connections / kb
	if err := errors.Join(err, w.reach(), w.leave()); err != nil {
		return err
	}
	w.values["left"] = grown(w.pace.rest) / mb
	return err
}

func mixed(w *worker) error {
	if err := w.listen(); err != nil {
		return err
	}
	const interval = 500 * time.Millisecond
	err := w.minions.call("Ask", Askers{Port: w.relay.ports.Request, Count: w.scenario.askers, Bytes: smallBytes, Interval: interval, Patience: w.pace.patience}, &struct{}{})
	if err != nil {
		return err
	}
	var p Published
	run := w.master.rpc.Go(roleMaster+".Publish", Publishes{
		Count: int(w.pace.mixed / time.Second), Bytes: smallBytes, Window: 1, Pause: time.Second, Every: true, Patience: w.pace.patience,
	}, &p, nil)
	replied, err := w.count(w.pace.mixed)
	if err != nil {
		return err
	}
	if <-run.Done; run.Error != nil {
		return run.Error
	}
	if replied.Meanwhile.Count == 0 {
		return errors.New("no request was under way during a publish")
	}
	spans, err := w.spans(p.Run)
	if err != nil {
		return err
	}
	w.values["p50"], w.values["p99"] = milliseconds(replied.Meanwhile.P50), milliseconds(replied.Meanwhile.P99)
	w.values["p99all"] = milliseconds(replied.All.P99)
	w.values["last"] = milliseconds(quantile(spans, 0.50))
	return w.minions.call("Rest", &struct{}{}, &struct{}{})
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
