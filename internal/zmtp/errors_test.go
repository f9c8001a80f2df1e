package zmtp

import (
	"fmt"
	"strings"
	"testing"
)

func TestFaultSaysBoth(t *testing.T) {
	_, _, err := ParseGreeting([]byte("GET / HTTP/1.1\r\n"))
	if got := err.Error(); got != "not ZMTP: the peer speaks HTTP" {
		t.Errorf("got %q", got)
	}
	if got := reasonOf(fmt.Errorf("minion 192.0.2.1:40000: %w", err)); got != ReasonNotZMTP {
		t.Errorf("wrapped: %q", got)
	}
}

func TestReasons(t *testing.T) {
	seen := map[Reason]bool{}
	for _, r := range Reasons() {
		if seen[r] {
			t.Errorf("%s twice", r)
		}
		seen[r] = true
		if strings.Trim(string(r), "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("%q is no label", r)
		}
		if words := (&Fault{Reason: r}).Error(); words == string(r)+": " {
			t.Errorf("%s has no words", r)
		}
	}
	if got := (&Fault{Reason: "of_another", Detail: "x"}).Error(); got != "of_another: x" {
		t.Errorf("unknown reason: %q", got)
	}
}
