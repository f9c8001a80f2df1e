package interop_test

import (
	"fmt"
	"slices"
	"strconv"
	"testing"

	"salt-broker/internal/zmtp"
	"salt-broker/retproxy"
)

// startMaster starts a master as Salt's is, a ROUTER with workers behind it, and a request channel that knows it.
func startMaster(t testing.TB, change ...func(o *retproxy.Options)) (*process, requestBroker) {
	t.Helper()
	master := startProcess(t)
	port := master.listen("ret", "ROUTER", 0, nil)
	master.do(step{"step": "workers", "name": "ret"})
	return master, startRequest(t, local(port), change...)
}

// served is what the workers of a master have been asked.
func (p *process) served() []string {
	p.t.Helper()
	return p.do(step{"step": "what_was_served"}).Messages
}

// seeded is a request of one frame, for peer.py and for here.
type seeded struct {
	seed string
	size int
}

func (s seeded) frames() [][]byte { return [][]byte{filler(s.seed, s.size)} }

// beginAsk has a peer ask as a REQ, one request after the other.
func (p *process) beginAsk(address string, requests []seeded, keep bool, o options) {
	p.t.Helper()
	if o == nil {
		o = options{}
	}
	spec := make([][][]any, len(requests))
	for i, r := range requests {
		spec[i] = [][]any{{r.seed, r.size}}
	}
	p.begin(step{"step": "ask", "address": address, "requests": spec, "keep": keep, "options": o})
}

// answers are the digests of the replies to requests, and asks those of the requests.
func answers(requests []seeded) (asks, replies []string) {
	for _, r := range requests {
		frames := r.frames()
		asks = append(asks, digest(frames...))
		replies = append(replies, digest(answered(frames...)...))
	}
	return asks, replies
}

// sameSet compares digests whose order is left to chance.
func sameSet(t testing.TB, who string, got, want []string) {
	t.Helper()
	same(t, who, slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want)))
}

// TestRequestSizes sends requests of all sizes through REQ, the broker, ROUTER, DEALER and REP, and gets replies as
// large.
func TestRequestSizes(t *testing.T) {
	for _, shape := range []struct {
		name string
		keep bool
	}{
		{"a connection for each", false}, // Salt 3006.0 to 3006.2
		{"one connection", true},         // other releases
	} {
		t.Run(shape.name, func(t *testing.T) {
			t.Parallel()
			master, broker := startMaster(t)
			minion := startProcess(t)
			var requests []seeded
			for i, size := range []int{
				0, 1, 253, 254, 255, 256, 540, 4200, 16<<10 - 1, 16 << 10, 65535, 65536, 1<<20 - 30, 1 << 20,
				1<<20 + 1, 20 << 20, 0, 3,
			} {
				requests = append(requests, seeded{fmt.Sprint("request ", i), size})
			}
			minion.beginAsk(broker.address(), requests, shape.keep, nil)
			asks, replies := answers(requests)
			same(t, "replies", minion.finish().Messages, replies)
			same(t, "requests", master.served(), asks)
			wantConnections := uint64(1)
			if !shape.keep {
				wantConnections = uint64(len(requests))
			}
			eventually(t, "all connections have ended", func() bool { return broker.Stats().Minions == 0 })
			if s := broker.Stats(); ended(s.Ends) != wantConnections || s.Forgotten+s.Unwanted+s.Unroutable+s.Late != 0 {
				t.Errorf("want %d connections: %+v", wantConnections, s)
			}
		})
	}
}

// TestRequestsOfMany has several minions ask at the same time, in both shapes, more than may be at the master at a time.
func TestRequestsOfMany(t *testing.T) {
	t.Parallel()
	master, broker := startMaster(t, func(o *retproxy.Options) { o.MaxInFlight = 3 })
	var minions []*process
	var wantAsks []string
	wantReplies := make([][]string, 4)
	for i := range wantReplies {
		m := startProcess(t)
		minions = append(minions, m)
		var requests []seeded
		for k := range 150 {
			requests = append(requests, seeded{fmt.Sprintf("minion %d asks %d", i, k), 200 + 37*k})
		}
		asks, replies := answers(requests)
		wantAsks = append(wantAsks, asks...)
		wantReplies[i] = replies
		// All claim to be the same one, which must not matter.
		m.beginAsk(broker.address(), requests, i%2 == 0, options{"IDENTITY": "minion"})
	}
	for i, m := range minions {
		same(t, fmt.Sprint("minion ", i), m.finish().Messages, wantReplies[i])
	}
	sameSet(t, "master", master.served(), wantAsks)
}

// TestRequestsUnderWay has one DEALER send a thousand requests before it reads a reply, of several frames each, through
// far fewer places at the master. Of another minion that asks meanwhile each request is served too.
func TestRequestsUnderWay(t *testing.T) {
	t.Parallel()
	master, broker := startMaster(t, func(o *retproxy.Options) { o.MaxInFlight = 10 })
	dealer, minion := startProcess(t), startProcess(t)
	dealer.join("dealer", "DEALER", broker.address(), nil)
	// Behind the delimiter the number of a request is in the bytes of its frames. Some have identities before it.
	all := series{heads: [][]string{{""}, {"id", ""}, {"of", "two", ""}}, count: 1200, parts: 3, size: 300}
	dealer.stream("dealer", all)
	var requests []seeded
	for i := range 100 {
		requests = append(requests, seeded{fmt.Sprint("meanwhile ", i), 500})
	}
	minion.beginAsk(broker.address(), requests, true, nil)
	asks, replies := answers(requests)
	same(t, "minion", minion.finish().Messages, replies)

	var want []string
	for i := range all.count {
		message := all.message(i)
		head := len(all.heads[i%len(all.heads)])
		asks = append(asks, digest(message[head:]...))
		want = append(want, digest(slices.Concat(message[:head], answered(message[head:]...))...))
	}
	sameSet(t, "dealer", dealer.recv("dealer", all.count), want)
	sameSet(t, "master", master.served(), asks)
}

// TestSameIdentity: two peers that claim the same identity are two all the same, and the replies, which come in another
// order than the requests, find each.
func TestSameIdentity(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"REQ", "DEALER"} {
		t.Run(kind, func(t *testing.T) {
			master := startProcess(t)
			broker := startRequest(t, local(master.listen("ret", "ROUTER", 0, nil)))
			minions := startProcess(t)
			var requests [][][]byte
			for i := range 6 {
				name := strconv.Itoa(i)
				minions.join(name, kind, broker.address(), options{"IDENTITY": "the same"})
				if kind == "REQ" {
					minions.send(name, []byte("I am "+name))
				} else {
					minions.send(name, nil, []byte("I am "+name))
				}
				requests = append(requests, master.recvRaw("ret"))
			}
			for _, request := range slices.Backward(requests) {
				body := request[len(request)-1]
				request[len(request)-1] = slices.Concat([]byte("so "), body)
				master.send("ret", request...)
			}
			for i := range requests {
				got := minions.recvRaw(strconv.Itoa(i))
				if want := fmt.Sprint("so I am ", i); string(got[len(got)-1]) != want {
					t.Errorf("minion %d got %q, want %q", i, got, want)
				}
			}
			s := broker.Stats()
			nobodyLeft(t, s.Minions, len(requests), s.Ends)
		})
	}
}

// TestOldMinionsAsk: ZMTP 3.0, which libzmq spoke before 4.3.3.
func TestOldMinionsAsk(t *testing.T) {
	t.Parallel()
	master, broker := startMaster(t)
	for _, as := range []zmtp.SocketType{zmtp.REQ, zmtp.DEALER} {
		minion := dial(t, broker.address(), as, 0)
		for i := range 50 {
			body := filler(fmt.Sprint(as, i), 100*i)
			minion.send(t, nil, body)
			want := slices.Concat([][]byte{nil}, answered(body))
			if got := minion.recv(t); digest(got...) != digest(want...) {
				t.Fatalf("%v, request %d: the reply is another one", as, i)
			}
		}
		minion.leave(t)
	}
	if n := len(master.served()); n != 100 {
		t.Errorf("the master served %d requests, want 100", n)
	}
}
