//go:build linux

package reactor

import (
	"testing"
)

// The lists of a turn are given back when they have grown large, but not while something is in them.
func TestTrimKeepsWhatIsUnderWay(t *testing.T) {
	r := start(t, Options{})
	l := r.Loops()[0]
	h := r.probe()
	c, peer := r.connect(h)
	g := r.probe()
	d, _ := r.connect(g)
	r.on(l, func() {
		l.dirty = make([]*Conn, 0, 5000)
		l.ended = make([]ending, 0, 5000)
		if err := c.Write([]byte("word")); err != nil {
			t.Error(err)
		}
		d.Close(nil)
		l.trim()
	})
	if got := string(take(t, peer, 4)); got != "word" {
		t.Errorf("got %q", got)
	}
	g.expect(nil)
	r.on(l, func() {
		l.trim()
		if cap(l.dirty) > 4096 || cap(l.ended) > 4096 {
			t.Error("large lists stay")
		}
	})
}
