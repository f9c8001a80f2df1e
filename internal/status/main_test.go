package status

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"go.uber.org/goleak"

	"salt-broker/internal/master"
	"salt-broker/internal/masters"
	"salt-broker/internal/reactor"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// broker is a broker that a test makes up.
type broker struct {
	publish pubproxy.Stats
	request retproxy.Stats
	masters masters.State
	stuck   []error
	// stopping says that it has been told to stop; restarts are those of each channel, beyond some.
	stopping bool
	restarts uint64
	log      *logtest.Hook
}

// healthy is one that serves.
func healthy() *broker {
	up := master.State{Connected: true, Master: "salt:4505", Address: netip.MustParseAddrPort("192.0.2.1:4505"), Since: noon}
	return &broker{
		publish: pubproxy.Stats{Open: true, Minions: 3, Ends: map[string]uint64{"left": 2}, Master: up, Loops: make([]reactor.LoopStats, 1)},
		masters: masters.State{
			Asked: true, Serving: "m1", Since: noon, Moves: map[masters.Reason]uint64{masters.Failed: 1, masters.FailedBack: 0},
			Masters: []masters.MasterState{
				{Name: "m1", Serving: true, Health: masters.Up, Since: noon, Key: "aa:bb", Paths: []masters.PathState{{
					Path: masters.Path{Publish: "m1:4505", Request: "m1:4506"}, Health: masters.Up, Probes: 5, Failures: 2, Latency: time.Millisecond,
				}}},
				{Name: "m2", Paths: []masters.PathState{{Path: masters.Path{Publish: "m2:4505", Request: "m2:4506"}}}},
			},
		},
		request: retproxy.Stats{Open: true, Ends: map[string]uint64{"left": 1}, Links: []master.State{up, up}, Loops: make([]reactor.LoopStats, 2)},
	}
}

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

func (b *broker) options() Options {
	log, hook := logtest.NewNullLogger()
	log.SetLevel(logrus.TraceLevel)
	b.log = hook
	return Options{
		Listen: "127.0.0.1:0", Version: "1.2.3", Commit: "abc", Started: noon, MaxInFlight: func() int { return 64 },
		PublishAddr: netip.MustParseAddrPort("192.0.2.2:4505"), RequestAddr: netip.MustParseAddrPort("192.0.2.2:4506"),
		Publish:  func() pubproxy.Stats { return b.publish },
		Request:  func() retproxy.Stats { return b.request },
		Masters:  func() masters.State { return b.masters },
		Turned:   b.turned(),
		Buffered: func() (int64, int64) { return 12345, 67890 },
		Restarts: func() (uint64, uint64) { return 5 + b.restarts, 7 + b.restarts },
		Log:      log,
	}
}

func (b *broker) turned() (all []func(context.Context) error) {
	for i := range 2 {
		all = append(all, func(context.Context) error {
			if i < len(b.stuck) {
				return b.stuck[i]
			}
			return nil
		})
	}
	return all
}

func canceled(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

// serve runs a server until the test ends and returns its address.
func serve(t *testing.T, o Options) string {
	t.Helper()
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Live(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return "http://" + s.Addr().String()
}

// client opens a connection for each request, or they would look like leaks.
var client = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	answer, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// into decodes a document that must have no field that its type does not know.
func into[T any](t *testing.T, text string) (v T) {
	t.Helper()
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&v); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return v
}

var errTest = errors.New("connection refused")
