package retproxy

import (
	"testing"

	"salt-broker/internal/zmtp"
)

func TestRouteFrame(t *testing.T) {
	want := route{minion: 3<<32 | 7, ticket: 9<<32 | 1}
	frame := want.frame()
	body, rest, err := zmtp.CutFrame(append(frame[:], 0, 0))
	if err != nil || len(rest) != 2 {
		t.Fatalf("not a frame before others: %x, %v", frame, err)
	}
	if got, ok := parseRoute(body); !ok || got != want {
		t.Errorf("parsed %+v, want %+v", got, want)
	}
	for _, size := range []int{0, 1, routeBody - 1, routeBody + 1, 255} {
		if _, ok := parseRoute(make([]byte, size)); ok {
			t.Errorf("a frame of %d bytes is taken for a routing frame", size)
		}
	}
}
