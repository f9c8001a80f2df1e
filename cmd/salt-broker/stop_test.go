package main

import (
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestStopWithNothingUnderWay(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			_, p := launchReady(t, []string{"-l", "info"}, "drain_timeout: 60")
			began := time.Now()
			p.signal(t, sig)
			if code := p.wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(began); took > 5*time.Second {
				t.Errorf("stopping took %v", took)
			}
			p.notified.expect(t, "STOPPING=1", p.ended)
			p.stderr.expect(t, "] stopped component=main deliveries=0 drained=", p.ended)
		})
	}
}

// underWay is a broker with a request that the master has and has not answered.
func underWay(t *testing.T, further ...string) (*place, *process, *scriptedMinion, func(reply string)) {
	t.Helper()
	l, p := launchReady(t, []string{"-l", "info"}, append(further, "recon_default: 10", "recon_max: 10")...)
	master := newScriptedMaster(t, l)
	minion := newScriptedMinion(t, l.request)
	minion.ask(t, "question")
	return l, p, minion, master.next(t)
}

func TestStopWaitsForRequestsUnderWay(t *testing.T) {
	t.Parallel()
	_, p, minion, answer := underWay(t, "drain_timeout: 60")
	began := time.Now()
	p.signal(t, syscall.SIGTERM)
	p.stderr.expect(t, "stopping: no new connections", p.ended)
	answer("late answer")
	minion.expect(t, "late answer")
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("stopping took %v", took)
	}
	p.stderr.expect(t, " replies=1 requests=1\n", p.ended)
}

func TestStopWaitsNoLongerThanDrainTimeout(t *testing.T) {
	t.Parallel()
	_, p, _, _ := underWay(t, "drain_timeout: 1")
	p.signal(t, syscall.SIGTERM)
	if code := p.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.stderr.expect(t, " lost_with_link=1 ", p.ended)
}

func TestSecondSignalDoesNotWait(t *testing.T) {
	t.Parallel()
	_, p, _, _ := underWay(t, "drain_timeout: 3600")
	p.signal(t, syscall.SIGTERM)
	p.stderr.expect(t, "stopping: no new connections", p.ended)
	again := time.NewTicker(twinSignals / 2)
	defer again.Stop()
	for over := false; !over; {
		select {
		case <-again.C: // one that comes too soon is none
			_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		case <-p.ended:
			over = true
		}
	}
	if code := p.wait(t); code != 1 {
		t.Errorf("exit code %d", code)
	}
	p.stderr.expect(t, "salt-broker: told to stop twice: ended at once, without waiting for requests under way\n", p.ended)
}

func TestStacks(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"critical", "all"} {
		l, p := launchReady(t, []string{"-l", level})
		newScriptedMinion(t, l.request).welcome(t) // so the loops turn
		p.signal(t, syscall.SIGUSR1)
		p.stderr.expect(t, "[INFO    ] SIGUSR1: end of stacks\n", p.ended)
		for _, want := range []string{"] goroutine 1 [", "reactor.(*Loop)", "main.(*serving).run("} {
			p.stderr.expect(t, want, p.ended)
		}
		p.signal(t, syscall.SIGTERM)
		if code := p.wait(t); code != 0 {
			t.Errorf("exit code %d after SIGUSR1", code)
		}
	}
}

func TestQuietSaysNothing(t *testing.T) {
	t.Parallel()
	_, p := launchReady(t, []string{"-l", "quiet"})
	p.signal(t, syscall.SIGUSR1)
	p.signal(t, syscall.SIGTERM)
	p.expect(t, 0)
	if strings.Contains(p.stderr.String(), "goroutine") {
		t.Error("stacks in spite of quiet")
	}
}
