package retproxy

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestCreditIsSharedOutEvenly(t *testing.T) {
	for _, tt := range []struct {
		name         string
		total, lanes int
		want         []int32
	}{
		{"one lane", 7, 1, []int32{7}},
		{"no rest", 8, 4, []int32{2, 2, 2, 2}},
		{"the first have the rest", 7, 4, []int32{2, 2, 2, 1}},
		{"one each", 3, 3, []int32{1, 1, 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := newCredit(tt.total, tt.lanes)
			for i, want := range tt.want {
				if got := c.accounts[i].free.Load(); got != want {
					t.Errorf("lane %d has %d, want %d", i, got, want)
				}
			}
		})
	}
}

// woken makes a credit that notes whom it wakes.
func woken(total, lanes int) (*credit, *[]int) {
	c, log := newCredit(total, lanes), new([]int)
	for i := range c.accounts {
		c.accounts[i].wake = func() { *log = append(*log, i) }
	}
	return c, log
}

func mustTake(t *testing.T, c *credit, lane, wantOwner int) {
	t.Helper()
	if owner, ok := c.take(lane); !ok || owner != wantOwner {
		t.Fatalf("lane %d took (%d, %v), want %d's", lane, owner, ok, wantOwner)
	}
}

func mustNotTake(t *testing.T, c *credit, lane int) {
	t.Helper()
	if owner, ok := c.take(lane); ok {
		t.Fatalf("lane %d took %d's, want none", lane, owner)
	}
}

func wantWoken(t *testing.T, log *[]int, want ...int) {
	t.Helper()
	if len(*log) != len(want) {
		t.Fatalf("woken: %v, want %v", *log, want)
	}
	for i := range want {
		if (*log)[i] != want[i] {
			t.Fatalf("woken: %v, want %v", *log, want)
		}
	}
	*log = nil
}

func TestCreditIsBorrowedFromWhoNeedsNone(t *testing.T) {
	c, log := woken(3, 3)
	mustTake(t, c, 0, 0)
	mustTake(t, c, 0, 1)
	c.wait(2)
	mustNotTake(t, c, 0) // lane 2 needs its own
	mustTake(t, c, 2, 2)
	mustNotTake(t, c, 2)

	c.give(0, 1) // the owner does not want it; who waits may have it
	wantWoken(t, log, 2)
	mustTake(t, c, 2, 1)
}

func TestCreditGoesBackToItsOwner(t *testing.T) {
	c, log := woken(2, 2)
	mustTake(t, c, 0, 0)
	mustTake(t, c, 0, 1)
	c.wait(0)
	c.wait(1)
	mustNotTake(t, c, 1)

	c.give(0, 1)
	wantWoken(t, log, 1)
	mustNotTake(t, c, 0) // although it waits and was there first
	mustTake(t, c, 1, 1)

	c.give(0, 0)
	wantWoken(t, log) // lane 0 looks at its own queue anyway
	mustTake(t, c, 0, 0)
}

// TestCreditLeftOverWakesWhoWaits: credit that is given to a lane while that lane waits wakes no other. When it turns out
// to be more than the lane needs, the others must hear of it.
func TestCreditLeftOverWakesWhoWaits(t *testing.T) {
	c, log := woken(4, 2)
	for _, owner := range []int{1, 1, 0, 0} {
		mustTake(t, c, 1, owner)
	}
	c.wait(0)
	c.wait(1)
	c.give(1, 0)
	c.give(1, 0)
	wantWoken(t, log, 0, 0)
	mustNotTake(t, c, 1)

	mustTake(t, c, 0, 0)
	c.content(0)
	wantWoken(t, log, 1)
	mustTake(t, c, 1, 0)
}

func TestCreditContentWakesNobodyWithoutNeed(t *testing.T) {
	c, log := woken(4, 2)
	c.content(0)
	c.wait(1)
	c.content(0) // did not wait: nothing has changed
	wantWoken(t, log)
}

// TestCreditFromManyLoops has lanes take and give as they do, and checks that no more than the total is out at a time,
// that every lane gets its work done, and that all credit is back where it belongs.
func TestCreditFromManyLoops(t *testing.T) {
	for _, tt := range []struct {
		name         string
		total, lanes int
	}{
		{"one for each", 4, 4},
		{"fewer than one turn each", 5, 4},
		{"plenty", 64, 3},
	} {
		t.Run(tt.name, func(t *testing.T) {
			const work = 3000
			c := newCredit(tt.total, tt.lanes)
			var out, most atomic.Int32
			lanes := make([]chan struct{}, tt.lanes)
			for i := range lanes {
				lanes[i] = make(chan struct{}, 1)
				c.accounts[i].wake = func() {
					select {
					case lanes[i] <- struct{}{}:
					default: // it looks anyway
					}
				}
			}
			var wg sync.WaitGroup
			for lane := range lanes {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(1, uint64(lane)))
					var held []int
					for done := 0; done < work; {
						waiting := 1 + random.IntN(4)
						hungry := false
						for waiting > 0 {
							owner, ok := c.take(lane)
							if !ok {
								c.wait(lane)
								if owner, ok = c.take(lane); !ok {
									hungry = true
									break
								}
							}
							if n := out.Add(1); n > most.Load() {
								most.Store(n)
							}
							held = append(held, owner)
							waiting--
							done++
						}
						if !hungry {
							c.content(lane)
						}
						if len(held) == 0 { // all is with others: they must wake this lane
							select {
							case <-lanes[lane]:
							case <-time.After(10 * time.Second):
								t.Errorf("lane %d waits for ever", lane)
								return
							}
						}
						for len(held) > 0 && (hungry || random.IntN(2) == 0) {
							out.Add(-1)
							c.give(lane, held[len(held)-1])
							held = held[:len(held)-1]
						}
					}
					c.content(lane)
					for _, owner := range held {
						out.Add(-1)
						c.give(lane, owner)
					}
				})
			}
			wg.Wait()
			if n := int(most.Load()); n > tt.total {
				t.Errorf("%d were out at a time, want at most %d", n, tt.total)
			}
			for i, want := range partsOf(tt.total, tt.lanes) {
				if got := c.accounts[i].free.Load(); got != want {
					t.Errorf("lane %d has %d back, want %d", i, got, want)
				}
			}
		})
	}
}

func partsOf(total, lanes int) []int32 {
	parts := make([]int32, lanes)
	for i := range total {
		parts[i%lanes]++
	}
	return parts
}
