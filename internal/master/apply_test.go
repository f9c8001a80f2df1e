package master

import (
	"errors"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// quickOptions are those of run.
func quickOptions(address string) Options {
	return Options{Address: address, DialTimeout: patience, HandshakeTimeout: patience, Backoff: quick}
}

// TestApplyOfAnotherMaster: the connection is left, without a warning, and the other master is dialed.
func TestApplyOfAnotherMaster(t *testing.T) {
	before, after := newPeer(t, "127.0.0.1:0", good), newPeer(t, "127.0.0.1:0", good)
	r := run(t, before.addr.String(), nil)
	r.connection(t)
	r.Apply(quickOptions(after.addr.String()))
	r.connection(t) // the first one's serve has returned
	if s := r.State(); !s.Connected || s.Address != after.addr || s.Master != after.addr.String() || s.Connections != 2 {
		t.Errorf("%+v", s)
	}
	if lines := r.lines(logrus.WarnLevel); len(lines) != 0 {
		t.Errorf("%d warnings, the first: %s", len(lines), lines[0].Message)
	}
	lines := r.lines(logrus.InfoLevel)
	if len(lines) != 2 || lines[1].Data["master"] != after.addr.String() {
		t.Errorf("%d lines", len(lines))
	}
}

// TestApplyOfTheSameMaster: the connection stays, and what has changed is for the next attempt.
func TestApplyOfTheSameMaster(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", good)
	r := run(t, p.addr.String(), func(o *Options) { o.Backoff = Backoff{Default: time.Hour, Max: time.Hour} })
	first := r.connection(t)
	r.Apply(quickOptions(p.addr.String()))
	if s := r.State(); !s.Connected || s.Connections != 1 {
		t.Errorf("%+v", s)
	}
	for range 2 { // the pauses are of the new options
		first.end(errors.New("it has gone"))
		first = r.connection(t)
	}
}

// TestApplyEndsAPause: the address was wrong, and nobody waits for an hour for the right one.
func TestApplyEndsAPause(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", good)
	r := run(t, "127.0.0.1:1", func(o *Options) { o.Backoff = Backoff{Default: time.Hour, Max: time.Hour} })
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for len(r.lines(logrus.WarnLevel)) == 0 {
		<-tick.C
	}
	r.Apply(quickOptions(p.addr.String()))
	r.connection(t)
}

// TestApplyBeforeRun: what holds is what was said last.
func TestApplyBeforeRun(t *testing.T) {
	l := NewLink(quickOptions("127.0.0.1:1"))
	l.Apply(quickOptions("127.0.0.1:2"))
	if !l.renew(func() {}) || l.opts.Address != "127.0.0.1:2" || l.renew(func() {}) {
		t.Errorf("%+v", l.opts)
	}
}
