package latency

import (
	"math"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Each bound belongs to its own bucket, as in Prometheus (le), and what is a nanosecond above it to the next.
func TestBuckets(t *testing.T) {
	for i := range Bounds {
		if got := bucketOf(Bound(i)); got != i {
			t.Errorf("%v is in bucket %d, want %d", Bound(i), got, i)
		}
		if got := bucketOf(Bound(i) + 1); got != i+1 {
			t.Errorf("%v is in bucket %d, want %d", Bound(i)+1, got, i+1)
		}
	}
	for d, want := range map[time.Duration]int{1: 0, time.Microsecond: 0, math.MaxInt64: Bounds, 100 * time.Microsecond: 3} {
		if got := bucketOf(d); got != want {
			t.Errorf("%v is in bucket %d, want %d", d, got, want)
		}
	}
}

func TestRecorder(t *testing.T) {
	var r Recorder
	r.Observe(0, 2)
	r.Observe(-time.Second, 1)
	r.Observe(time.Millisecond, 5)
	before := r.Histogram()
	if got := before.Nanos; got != uint64(5*time.Millisecond) {
		t.Errorf("%d ns", got)
	}
	if before.Counts[0] != 3 || before.Count() != 8 {
		t.Errorf("%+v", before)
	}
	r.Observe(time.Hour, 1)
	since := r.Histogram().Minus(before)
	if since.Count() != 1 || since.Counts[Bounds] != 1 || since.Nanos != uint64(time.Hour) {
		t.Errorf("%+v", since)
	}
	if both := before.Plus(since); both != r.Histogram() {
		t.Errorf("%+v", both)
	}
}

func TestQuantile(t *testing.T) {
	var r Recorder
	if got := r.Histogram().Quantile(0.5); got != 0 {
		t.Errorf("of nothing: %v", got)
	}
	r.Observe(time.Millisecond, 90)
	r.Observe(time.Second, 9)
	r.Observe(time.Hour, 1)
	h := r.Histogram()
	for q, want := range map[float64]time.Duration{
		0: 1024 * time.Microsecond, 0.5: 1024 * time.Microsecond, 0.9: 1024 * time.Microsecond,
		0.901: 1048576 * time.Microsecond, 0.99: 1048576 * time.Microsecond, 1: math.MaxInt64,
	} {
		if got := h.Quantile(q); got != want {
			t.Errorf("%v: %v, want %v", q, got, want)
		}
	}
}

func TestObservingAllocatesNothing(t *testing.T) {
	var r Recorder
	if n := testing.AllocsPerRun(100, func() { r.Observe(time.Millisecond, 1) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkObserve(b *testing.B) {
	var r Recorder
	for d := time.Duration(0); b.Loop(); d += time.Microsecond {
		r.Observe(d, 1)
	}
}
