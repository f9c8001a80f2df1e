package masters

import (
	"errors"
	"testing"
	"time"
)

// The letters are answers: + a good one, - a bad one; what the path is after each of them stands below: u up, d down.
func TestHealth(t *testing.T) {
	for answers, want := range map[string]string{
		"+":          "u",
		"-":          "d",
		"+--+---":    "uuuuuud",
		"-+-++":      "dddd" + "u",
		"+---+++---": "uuuddu" + "uuu" + "d",
		"+-+-+-+-":   "uuuuuuuu",
	} {
		var h health
		now, got := time.Unix(1, 0), ""
		for _, a := range answers {
			now = now.Add(time.Second)
			before := h.is
			err := errors.New("no")
			if a == '+' {
				err = nil
			}
			changed := h.answered(now, time.Millisecond, err)
			got += h.is.String()[:1]
			if changed != (h.is != before) || changed && h.since != now {
				t.Errorf("%s: at %s: changed %v, since %v", answers, got, changed, h.since)
			}
		}
		if got != want {
			t.Errorf("%s: %s, want %s", answers, got, want)
		}
	}
}

// What is counted, measured and said of a path.
func TestHealthRemembers(t *testing.T) {
	var h health
	first := errors.New("first")
	h.answered(time.Unix(1, 0), 5, nil)
	h.answered(time.Unix(2, 0), 0, first)
	h.answered(time.Unix(3, 0), 0, errors.New("second"))
	h.answered(time.Unix(4, 0), 0, nil) // busy
	if h.asked != 4 || h.failed != 2 || h.took != 5 || h.fault.Error() != "second" || h.first != time.Unix(2, 0) {
		t.Errorf("%+v", h)
	}
}
