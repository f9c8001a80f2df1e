package supervise

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// once panics where a channel says that it shuts its port, on the goroutine that watches for the master: the first time
// that each of the two says so.
type once struct{ burnt atomic.Int64 }

func (o *once) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }
func (o *once) Fire(e *logrus.Entry) error {
	if strings.Contains(e.Message, "minions are sent away") && o.burnt.Add(1) <= 2 {
		panic("a watcher fails")
	}
	return nil
}

// What watches for the master is a part of its channel: a panic there starts the channel again, which then does what it
// should, and the process goes on.
func TestWatcherForTheMasterPanics(t *testing.T) {
	r := startClosing(t, Options{Pause: time.Millisecond}, 10*time.Millisecond)
	r.people(0)
	var fuse once
	r.log.AddHook(&fuse)
	if err := r.master.Leave(); err != nil {
		t.Fatal(err)
	}
	r.await("both channels have started again and have shut their ports", func() bool {
		return r.publish.Restarts() == 1 && r.request.Restarts() == 1 && fuse.burnt.Load() == 4 && !r.publish.Stats().Open && !r.request.Stats().Open
	})
	if err := r.master.Start(); err != nil {
		t.Fatal(err)
	}
	r.served()
	if err := r.close(); err != nil {
		t.Error(err)
	}
	n := 0
	for _, line := range texts(r.hook, logrus.FatalLevel) {
		if strings.HasSuffix(line, " channel: panic: a watcher fails") {
			n++
		}
	}
	if n != 2 {
		t.Errorf("%d panics are in the log", n)
	}
}
