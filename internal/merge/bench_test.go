package merge

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

// nowhere is a sink.
type nowhere struct{ out int }

func (s *nowhere) Publish(int, []byte) { s.out++ }
func (*nowhere) Astray(int)            {}

// BenchmarkDeliver brings publishes of Salt's size over each path, the last by lag behind the first. An operation is a
// publish, on all paths.
func BenchmarkDeliver(b *testing.B) {
	for _, paths := range []int{1, 2, 4} {
		for _, lag := range []int{0, 1000} {
			b.Run(fmt.Sprintf("paths=%d/lag=%d", paths, lag), func(b *testing.B) { deliver(b, paths, lag) })
		}
	}
}

func deliver(b *testing.B, paths, lag int) {
	out := &nowhere{}
	m := New(paths, time.Second, out)
	msg := make([]byte, 440)
	bring := func(path, n int) {
		binary.BigEndian.PutUint64(msg, uint64(n))
		m.Deliver(path, msg, 0)
	}
	for i := range paths {
		m.Begin(i, 0)
	}
	n := 0
	next := func() {
		bring(0, n)
		for i := 1; i < paths && n >= lag; i++ {
			bring(i, n-lag)
		}
		n++
	}
	for i := range paths { // all are in their places
		bring(i, -1)
	}
	for range 2*Window + lag {
		next()
	}
	b.ReportAllocs()
	b.SetBytes(int64(len(msg)))
	for b.Loop() {
		next()
	}
	if out.out != n+1 {
		b.Errorf("%d of %d have gone out", out.out, n+1)
	}
}

// BenchmarkHold has a path return again and again, and the other bring what it does 64 publishes later.
func BenchmarkHold(b *testing.B) { returns(b) }

func returns(b *testing.B) {
	const hold = 64
	out := &nowhere{}
	m := New(2, time.Second, out)
	msg := make([]byte, 440)
	bring := func(path, n int) {
		binary.BigEndian.PutUint64(msg, uint64(n))
		m.Deliver(path, msg, 0)
	}
	m.Begin(0, 0)
	bring(0, -1)
	n := 0
	next := func() {
		m.End(1, 0)
		m.Begin(1, 0)
		for i := range hold {
			bring(1, n+i)
		}
		for i := range hold {
			bring(0, n+i)
		}
		n += hold
	}
	for n < 2*Window {
		next()
	}
	b.ReportAllocs()
	b.SetBytes(hold * int64(len(msg)))
	for b.Loop() {
		next()
	}
	if out.out != n+1 {
		b.Errorf("%d of %d have gone out", out.out, n+1)
	}
}
