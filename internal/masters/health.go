package masters

import "time"

// Health is what is known of a master, or of one path to it.
type Health uint8

// Whether a master lives.
const (
	Unknown Health = iota // it has not been asked yet, or nobody is
	Up
	Down
)

// String is the word for it in the status.
func (h Health) String() string { return [...]string{"unknown", "up", "down"}[h] }

const (
	// rise and fall are how many answers in a row make a master that is down up, and the other way round. The first
	// answer ever decides alone.
	rise = 2
	fall = 3
)

// health is what is remembered of the answers that came by one path.
type health struct {
	is      Health
	since   time.Time // when it became that
	against int       // answers in a row that speak against it
	first   time.Time // when the first of those came

	asked, failed uint64
	took          time.Duration // of the last good answer, or at least that; 0: none
	fault         error         // of the last bad one; nil: none
}

// answered takes the outcome of a probe, and says whether that changes what the path is.
func (h *health) answered(now time.Time, took time.Duration, err error) (changed bool) {
	h.asked++
	says := Up
	if err != nil {
		says, h.fault = Down, err
		h.failed++
	} else if took > 0 {
		h.took = took
	}
	if says == h.is {
		h.against = 0
		return false
	}
	if h.against == 0 {
		h.first = now
	}
	h.against++
	if h.is == Up && h.against < fall || h.is == Down && h.against < rise {
		return false
	}
	h.is, h.since, h.against = says, now, 0
	return true
}
