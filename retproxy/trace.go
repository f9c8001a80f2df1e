package retproxy

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"time"

	"salt-broker/internal/reactor"
	"salt-broker/internal/zmtp"
)

// TRACE asks every broker on the way to the master who it is. Each answers HOP at once and passes TRACE on, so who asks
// takes the time himself, and sees how far the way goes where it ends. Nothing of it is kept at a broker: TRACE has the
// way back in it, the connection at each broker that it came from, as the envelope of a request has.

const (
	// MaxHops is how many brokers a trace passes: more than anybody has, and an end for a way in a circle.
	MaxHops = 16
	// maxHopBytes is for what a broker says of itself.
	maxHopBytes = 3800
	// maxHopText is for each of the five texts in it, which may be six times as long as JSON.
	maxHopText = 120
	// refBytes is the size of a connection's name.
	refBytes = 8
	// maxTraces is how many a lane answers in a second. More are counted: nobody looks so often, and each asks all brokers
	// above as well.
	maxTraces = 100
)

// Hop is what a broker on the way to the master says of itself.
type Hop struct {
	// Number counts the brokers on the way, from 1.
	Number int `json:"hop"`
	// Name is its host's, and Version the program's.
	Name    string `json:"name"`
	Version string `json:"version"`
	// Master is what it has for a master, as it is configured, and Address where that answers, if it does.
	Master  string `json:"master"`
	Address string `json:"address,omitempty"`
	// Next says what comes next on the way.
	Next Next `json:"next"`
	// Peers are how many masters it has, of which this is one, and Serving how many of them have the requests of their
	// minions; both 0 where there is no cluster.
	Peers   int `json:"peers,omitempty"`
	Serving int `json:"serving,omitempty"`
	// Since is for how long that has been so, in seconds, and Error why there is no connection.
	Since float64 `json:"since_seconds"`
	Error string  `json:"error,omitempty"`
}

// Next is what comes next on the way to the master.
type Next string

// What may come next.
const (
	NextBroker Next = "broker" // it has been asked
	NextMaster Next = "master" // or anything else that is no broker of this kind
	NextNone   Next = "none"   // there is no connection
	NextBusy   Next = "busy"   // too much waits on the connection
	NextLimit  Next = "limit"  // a broker, after MaxHops others
)

// ParseHop reads the data of a HOP that has come all the way back. What a broker says is what it wants, so texts have any
// content.
func ParseHop(data []byte) (Hop, error) {
	var h Hop
	if len(data) < 1 || data[0] != 0 || len(data) > 1+maxHopBytes {
		return h, fmt.Errorf("a HOP of %d bytes that is not for us", len(data))
	}
	if err := json.Unmarshal(data[1:], &h); err != nil {
		return h, fmt.Errorf("a HOP that is no JSON: %w", err)
	}
	return h, nil
}

// AppendTrace appends the TRACE that begins a trace, a whole frame.
func AppendTrace(dst []byte) []byte {
	return zmtp.AppendCommand(dst, zmtp.CommandTrace, []byte{MaxHops})
}

// traces bounds how many a lane answers.
type traces struct {
	second time.Duration // that is counted
	count  int           // in it
}

// may says whether one more may be answered.
func (t *traces) may(now time.Duration) bool {
	if now-t.second >= time.Second {
		t.second, t.count = now, 0
	}
	t.count++
	return t.count <= maxTraces
}

// trace answers TRACE and passes it on.
func (m *minion) trace(data []byte) error {
	if len(data) == 0 || data[0] == 0 || data[0] > MaxHops || len(data)%refBytes != 1 || len(data) > 1+MaxHops*refBytes {
		return &zmtp.Fault{Reason: zmtp.ReasonCommand, Detail: fmt.Sprintf("a TRACE of %d bytes", len(data))}
	}
	l := m.lane
	if !l.traces.may(l.loop.Now()) {
		l.tracesIgnored.Add(1)
		return nil
	}
	m.traces = true
	passed := data[1:]
	up := l.wayFor(m, message{}).ordinary // of several masters, that of requests without an id from here
	h := up.hop()
	h.Number = len(passed)/refBytes + 1
	h.Peers, h.Serving = l.peers()
	h.Name, h.Version = clipped(l.proxy.options.Name), clipped(l.proxy.options.Version)
	switch {
	case h.Next != NextBroker:
	case data[0] == 1:
		h.Next = NextLimit
	case !up.ready():
		h.Next = NextBusy
	default:
		further := append([]byte{data[0] - 1}, passed...)
		further = binary.BigEndian.AppendUint64(further, uint64(m.conn.Ref()))
		if err := up.conn.Write(zmtp.AppendCommand(nil, zmtp.CommandTrace, further)); err != nil {
			up.conn.Close(err)
		}
	}
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	back := append([]byte{byte(h.Number - 1)}, passed...)
	if err := m.conn.Write(zmtp.AppendCommand(nil, zmtp.CommandHop, append(back, text...))); err != nil {
		return err
	}
	m.flow() // who only asks and never reads
	return nil
}

// peers are how many masters of a cluster there are, and how many of them serve.
func (l *lane) peers() (all, serving int) {
	if l.only != nil {
		return 0, 0
	}
	for _, w := range l.ways {
		if w.leaving {
			continue
		}
		all++
		if w.serves.Load() {
			serving++
		}
	}
	return all, serving
}

// hop is what the link knows of the way from here.
func (k *link) hop() Hop {
	s := k.road.State()
	h := Hop{Master: clipped(s.Master), Next: NextNone, Since: time.Since(s.Since).Seconds()}
	switch {
	case !s.Connected || k.conn == nil || k.conn.Closed():
		if s.LastError != nil {
			h.Error = clipped(fmt.Sprint(s.LastError))
		}
		return h
	case k.broker > 0:
		h.Next = NextBroker
	default:
		h.Next = NextMaster
	}
	h.Address = s.Address.String()
	return h
}

// passHop passes HOP on to who has asked: the last connection on the way back is one of this lane.
func (k *link) passHop(data []byte) {
	if k.broker == 0 || len(data) == 0 {
		return
	}
	n := int(data[0])
	if n == 0 || n > MaxHops || len(data) < 1+n*refBytes || len(data) > 1+n*refBytes+maxHopBytes {
		k.lane.unroutable.Add(1)
		return
	}
	at := 1 + (n-1)*refBytes
	m := k.lane.minion(reactor.Ref(binary.BigEndian.Uint64(data[at:])))
	if m == nil || !m.traces { // it has left, or never asked
		k.lane.unwanted.Add(1)
		return
	}
	back := append([]byte{byte(n - 1)}, data[1:at]...)
	if err := m.conn.Write(zmtp.AppendCommand(nil, zmtp.CommandHop, append(back, data[at+refBytes:]...))); err != nil {
		m.conn.Close(err)
	}
}

// clipped bounds a text. A letter may be cut: json writes a sign for what is left of it.
func clipped(s string) string { return s[:min(len(s), maxHopText)] }
