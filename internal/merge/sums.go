package merge

import "math/bits"

// sum stands for a publish: a hash of its bytes, frame headers and topic included, and how many they are.
type sum struct {
	hash uint64
	size uint32
}

// leastSums is what a list that has anything has room for.
const leastSums = 64

// sums is a list of publishes, first in, first out, that also knows where each stands. Its serials count what was ever
// added, from 1. The zero value is an empty list. Memory is 24 bytes for each that there is room for, which doubles.
type sums struct {
	ring  []sum
	slots []uint32 // a hash table with open addressing: places in ring and 1; 0 is empty
	gone  uint64   // serial of the last that was taken
	last  uint64   // and of the last that was added
}

func (s *sums) len() int { return int(s.last - s.gone) }

func (s *sums) place(serial uint64) uint32 { return uint32(serial) & uint32(len(s.ring)-1) }

func (s *sums) home(x sum) uint32 { return uint32(x.hash) & uint32(len(s.slots)-1) }

// at is what has this serial, which is in the list.
func (s *sums) at(serial uint64) sum { return s.ring[s.place(serial)] }

// find returns the serial of x.
func (s *sums) find(x sum) (serial uint64, ok bool) {
	if len(s.ring) == 0 {
		return 0, false
	}
	for i := s.home(x); s.slots[i] != 0; i = s.next(i) {
		place := s.slots[i] - 1
		if s.ring[place] == x {
			first := s.gone + 1
			return first + uint64((place-s.place(first))&uint32(len(s.ring)-1)), true
		}
	}
	return 0, false
}

func (s *sums) next(slot uint32) uint32 { return (slot + 1) & uint32(len(s.slots)-1) }

// add puts x at the end. It is not in the list yet.
func (s *sums) add(x sum) {
	if s.len() == len(s.ring) {
		s.grow(max(leastSums, 2*len(s.ring)))
	}
	s.last++
	s.put(s.last, x)
}

func (s *sums) put(serial uint64, x sum) {
	s.ring[s.place(serial)] = x
	i := s.home(x)
	for s.slots[i] != 0 {
		i = s.next(i)
	}
	s.slots[i] = s.place(serial) + 1
}

// grow makes room for n, a power of two.
func (s *sums) grow(n int) {
	old := *s
	s.ring, s.slots = make([]sum, n), make([]uint32, 2*n)
	for serial := old.gone + 1; serial <= old.last; serial++ {
		s.put(serial, old.at(serial))
	}
}

// take takes the first away, which there is.
func (s *sums) take() {
	s.gone++
	place := s.place(s.gone)
	i := s.home(s.ring[place])
	for s.slots[i] != place+1 {
		i = s.next(i)
	}
	// What follows moves up, as far as it is not at home there: else it would not be found behind the gap.
	for j := s.next(i); s.slots[j] != 0; j = s.next(j) {
		home := s.home(s.ring[s.slots[j]-1])
		if (j-home)&uint32(len(s.slots)-1) >= (j-i)&uint32(len(s.slots)-1) {
			s.slots[i] = s.slots[j]
			i = j
		}
	}
	s.slots[i] = 0
}

// shrink gives memory back that an empty list does not need.
func (s *sums) shrink(most int) {
	if s.len() == 0 && len(s.ring) > 1<<bits.Len(uint(most-1)) {
		s.ring, s.slots = nil, nil
	}
}
