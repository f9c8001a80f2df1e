//go:build linux

package sim

import (
	"context"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must happen. It is long, because it is only ever used up by a failure.
const patience = 30 * time.Second

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// startMaster starts a master that is stopped with the test.
func startMaster(t *testing.T, o MasterOptions) *Master {
	t.Helper()
	m, err := StartMaster(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Stop(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// startMinions starts minions that connect to the master and are stopped with the test.
func startMinions(t *testing.T, m *Master, o MinionsOptions) *Minions {
	t.Helper()
	o.Publish, o.Request = m.PublishAddr(), m.RequestAddr()
	minions, err := StartMinions(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := minions.Stop(); err != nil {
			t.Error(err)
		}
	})
	return minions
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// faultless fails the test when a minion saw what never should be.
func faultless(t *testing.T, minions *Minions) {
	t.Helper()
	if s := minions.Stats(); s.Faults() != 0 {
		t.Errorf("%v; %+v", s.FirstFault, s)
	}
}
