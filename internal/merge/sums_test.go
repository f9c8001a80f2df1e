package merge

import (
	"math/rand/v2"
	"testing"
)

// TestSums compares the list with a plain one, with hashes that collide in the table.
func TestSums(t *testing.T) {
	for seed := range uint64(20) {
		random := rand.New(rand.NewPCG(seed, 2))
		var (
			s     sums
			plain []sum
			limit = 1 + random.IntN(300)
		)
		draw := func() sum { return sum{random.Uint64N(30) | random.Uint64N(10)<<40, uint32(random.IntN(2))} }
		for range 3000 {
			if x := draw(); random.IntN(100) < 55 && !holds(plain, x) {
				s.add(x)
				plain = append(plain, x)
			}
			if len(plain) > 0 && (len(plain) > limit || random.IntN(100) < 30) {
				s.take()
				plain = plain[1:]
			}
			x := draw()
			serial, ok := s.find(x)
			if ok != holds(plain, x) || ok && s.at(serial) != x {
				t.Fatalf("seed %d: finding %v says %v", seed, x, ok)
			}
			if s.len() != len(plain) || s.len() > 0 && s.at(s.gone+1) != plain[0] {
				t.Fatalf("seed %d: %d in the list, %d in the plain one", seed, s.len(), len(plain))
			}
		}
		for i, x := range plain {
			if serial, ok := s.find(x); !ok || serial != s.gone+1+uint64(i) {
				t.Fatalf("seed %d: %v is at %d, %v", seed, x, serial, ok)
			}
		}
	}
}

func holds(all []sum, x sum) bool {
	for _, y := range all {
		if x == y {
			return true
		}
	}
	return false
}
