package zmtp

import "testing"

func TestBrokerReady(t *testing.T) {
	for i := range socketTypes {
		if i == 0 {
			continue
		}
		own := SocketType(i)
		frame := AppendBrokerReady([]byte("before"), own)
		if string(frame[:6]) != "before" {
			t.Fatal("it does not append")
		}
		r, err := ParseReady(data(t, frame[6:], "READY"))
		if err != nil || r.SocketType != own || r.Broker != BrokerLevel || (r.Identity != nil) != own.hasIdentity() {
			t.Errorf("%s: %+v, %v", own, r, err)
		}
	}
}

// TestBrokerLevel: whatever a peer says of being a broker, the connection is as good as without.
func TestBrokerLevel(t *testing.T) {
	for value, want := range map[string]int{
		"1": 1, "2": 2, "17": 17, "999": 999, "0": 0, "": 0, "-1": 0, "+1": 0, "1.0": 0, "1000": 0, "x": 0, " 1": 0, "\xff": 0, "１": 0,
	} {
		body := appendProperty(nil, propertySocketType, "ROUTER")
		body = appendProperty(body, "x-salt-BROKER", value)
		if r, err := ParseReady(body); err != nil || r.Broker != want || r.SocketType != ROUTER {
			t.Errorf("%q: %+v, %v; want %d", value, r, err, want)
		}
	}
}
