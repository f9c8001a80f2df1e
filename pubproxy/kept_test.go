package pubproxy

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"time"
)

// TestKept compares with a plain list.
func TestKept(t *testing.T) {
	type publish struct {
		came time.Duration
		msg  []byte
	}
	r := rand.New(rand.NewPCG(1, 2))
	for round := range 50 {
		var (
			counts warmCounts
			want   []publish
			now    time.Duration
			limit  = int64(r.IntN(5000) + 1)
			full   uint64
			k      = kept{counts: &counts}
		)
		added := uint64(0)
		for range 3000 {
			now += time.Duration(r.IntN(3))
			switch dice := r.IntN(20); {
			case dice < 12:
				msg := make([]byte, r.IntN(300))
				if r.IntN(50) == 0 {
					msg = make([]byte, r.IntN(7000))
				}
				for i := range msg {
					msg[i] = byte(r.Uint32())
				}
				k.add(msg, now, limit)
				added++
				want = append(want, publish{now, bytes.Clone(msg)})
				clear(msg) // it is the caller's
				for size := int64(0); ; size = 0 {
					for _, p := range want {
						size += int64(len(p.msg))
					}
					if size <= limit {
						break
					}
					if i := len(want) - 1; int64(len(want[i].msg)) > limit {
						want, full = nil, full+uint64(len(want))
						break
					}
					want, full = want[1:], full+1
				}
			case dice < 15:
				if len(want) > 0 {
					if got := k.take(); !bytes.Equal(got, want[0].msg) {
						t.Fatalf("round %d: %d bytes, want %d", round, len(got), len(want[0].msg))
					}
					want = want[1:]
				}
			case dice < 18:
				then := now - time.Duration(r.IntN(30))
				k.dropUntil(then, &counts.passed)
				for len(want) > 0 && want[0].came <= then {
					want = want[1:]
				}
			case dice == 18 && r.IntN(10) == 0:
				k.drop(&counts.left)
				want = nil
			}
			size := int64(0)
			for _, p := range want {
				size += int64(len(p.msg))
			}
			if k.len() != len(want) || k.size() != size || k.held.Load() != int64(k.len()) || k.heldBytes.Load() != size {
				t.Fatalf("round %d: it has %d with %d bytes and shows %d and %d, want %d and %d",
					round, k.len(), k.size(), k.held.Load(), k.heldBytes.Load(), len(want), size)
			}
			if k.len() > 0 && k.since() != want[0].came {
				t.Fatalf("round %d: the oldest is of %v, want %v", round, k.since(), want[0].came)
			}
			if cap(k.bytes) > 8*int(limit)+4096 {
				t.Fatalf("round %d: %d bytes of memory for at most %d", round, cap(k.bytes), limit)
			}
		}
		if got := counts.load(); got.Kept != added || got.Full != full {
			t.Fatalf("round %d: %+v, want %d kept and %d full", round, got, added, full)
		}
	}
}

// TestKeptGivesMemoryBack: a burst does not stay in memory, and in the long run nothing is allocated.
func TestKeptGivesMemoryBack(t *testing.T) {
	var counts warmCounts
	k := kept{counts: &counts}
	msg := make([]byte, 400)
	for range 2 * keptPlaces {
		k.add(msg, 0, DefaultWarmBytes)
	}
	k.drop(&counts.left)
	if cap(k.bytes) > keptRoom || cap(k.list) > keptPlaces {
		t.Errorf("%d bytes and %d places are left", cap(k.bytes), cap(k.list))
	}
	now := time.Duration(0)
	step := func() {
		now++
		k.add(msg, now, DefaultWarmBytes)
		k.dropUntil(now-100, &counts.passed)
	}
	for range 1000 {
		step()
	}
	if n := testing.AllocsPerRun(10000, step); n > 0 {
		t.Errorf("%v allocations for a publish", n)
	}
	if k.len() != 100 {
		t.Errorf("%d are kept", k.len())
	}
}
