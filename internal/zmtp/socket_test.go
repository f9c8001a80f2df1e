package zmtp

import "testing"

func TestSocketType(t *testing.T) {
	for _, own := range []SocketType{PAIR, PUB, SUB, REQ, REP, DEALER, ROUTER, PULL, PUSH, XPUB, XSUB} {
		got, ok := ParseSocketType([]byte(own.String()))
		if !ok || got != own {
			t.Errorf("%s: parsed as %s, %t", own, got, ok)
		}
	}
	for _, name := range []string{"", "sub", "SUBS", "XXSUB", "SU", "STREAM", "SocketType(0)"} {
		if got, ok := ParseSocketType([]byte(name)); ok || got != 0 {
			t.Errorf("%q: parsed as %s, %t", name, got, ok)
		}
	}
	if got := SocketType(0).String(); got != "SocketType(0)" {
		t.Errorf("zero: %s", got)
	}
	if got := SocketType(200).String(); got != "SocketType(200)" {
		t.Errorf("beyond the last: %s", got)
	}
}
