package master

import (
	"slices"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

func TestPauses(t *testing.T) {
	const s = time.Second
	tests := []struct {
		name    string
		backoff Backoff
		random  func(int64) int64
		want    []time.Duration
	}{
		{"grows up to Max", Backoff{Default: s, Max: 10 * s}, nil, []time.Duration{s, 2 * s, 4 * s, 8 * s, 10 * s, 10 * s}},
		{"meets Max", Backoff{Default: s, Max: 4 * s}, nil, []time.Duration{s, 2 * s, 4 * s, 4 * s}},
		{"stays", Backoff{Default: 3 * s, Max: s}, nil, []time.Duration{3 * s, 3 * s, 3 * s}},
		{"defaults", Backoff{}, nil, []time.Duration{s, 2 * s, 4 * s, 8 * s, 10 * s}},
		{"jitter, most", Backoff{Default: s, Max: 3 * s, Randomize: true}, func(n int64) int64 { return n - 1 }, []time.Duration{s, 2 * s, 3 * s, 3 * s}},
		{"jitter, half", Backoff{Default: s, Max: 3 * s, Randomize: true}, func(n int64) int64 { return n/2 - 1 }, []time.Duration{s / 2, s, 3 * s / 2}},
		{"jitter, least", Backoff{Default: s, Max: 3 * s, Randomize: true}, func(int64) int64 { return 0 }, []time.Duration{1, 1}},
		{"does not overflow", Backoff{Default: 1 << 62, Max: 1<<63 - 1}, nil, []time.Duration{1 << 62, 1<<63 - 1, 1<<63 - 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.backoff.withDefaults().start()
			if tt.random != nil {
				p.random = tt.random
			}
			var got []time.Duration
			for range tt.want {
				got = append(got, p.next())
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestJitterIsSpread(t *testing.T) {
	b := Backoff{Default: time.Second, Max: time.Second, Randomize: true}
	var low, high int
	for p := b.start(); low+high < 1000; {
		switch d := p.next(); {
		case d <= 0 || d > time.Second:
			t.Fatalf("pause %v", d)
		case d < time.Second/2:
			low++
		default:
			high++
		}
	}
	if low < 300 || high < 300 {
		t.Errorf("%d short, %d long", low, high)
	}
}

// The pauses begin anew after a connection that lived, and go on growing after one that did not.
func TestPausesBeginAnew(t *testing.T) {
	p := newPeer(t, "127.0.0.1:0", good)
	r := run(t, p.addr.String(), func(o *Options) {
		o.Backoff = Backoff{Default: time.Millisecond, Max: 40 * time.Millisecond}
	})
	r.connection(t).end(nil)
	r.connection(t).end(nil)
	r.connection(t).end(nil)
	lived := r.connection(t)
	<-time.After(50 * time.Millisecond)
	lived.end(nil)
	r.connection(t).end(nil)
	r.connection(t)

	var got []string
	for _, entry := range r.hook.AllEntries() {
		if pause, ok := entry.Data["pause"]; ok && entry.Level <= logrus.DebugLevel {
			got = append(got, pause.(string))
		}
	}
	if want := []string{"1ms", "2ms", "4ms", "1ms", "2ms"}; !slices.Equal(got, want) {
		t.Errorf("paused %q, want %q", got, want)
	}
}
