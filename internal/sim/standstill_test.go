package sim

import (
	"testing"
	"testing/synctest"
	"time"
)

// A process that is merely busy does not stand still.
func TestStandstill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := WatchStandstill()
		time.Sleep(time.Second)
		s.Stop()
		s.ticked(40 * time.Millisecond)
		if stood := s.Sum(); stood != 0 {
			t.Errorf("stood still for %v", stood)
		}
		s.ticked(2 * time.Second)
		s.ticked(60 * time.Millisecond)
		if stood, longest := s.Sum(), s.Longest(); stood != 2060*time.Millisecond || longest != 2*time.Second {
			t.Errorf("stood still for %v, %v at a time", stood, longest)
		}
	})
}
