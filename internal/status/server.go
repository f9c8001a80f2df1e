package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"

	"salt-broker/internal/masters"
	"salt-broker/pubproxy"
	"salt-broker/retproxy"
)

const (
	// headerTimeout and readTimeout are for requests, which have no body. writeTimeout is for answers; a profile takes
	// longer, since it is measured meanwhile.
	headerTimeout  = 5 * time.Second
	readTimeout    = 10 * time.Second
	writeTimeout   = 30 * time.Second
	profileTimeout = 5 * time.Minute
	idleTimeout    = time.Minute
	// maxHeaderBytes bounds a request.
	maxHeaderBytes = 16 << 10
	// maxConnections bounds what the port takes of the process' descriptors.
	maxConnections = 64
	// stopTimeout is how long an answer that has begun may take when the server stops.
	stopTimeout = time.Second
)

// Options of a server.
type Options struct {
	// Listen is the address, host:port (status_interface, status_port).
	Listen string
	// Pprof serves profiles of the process below /debug/pprof (status_pprof).
	Pprof bool
	// Version and Commit say what runs.
	Version, Commit string
	// Started is when the process began.
	Started time.Time
	// PublishAddr and RequestAddr are the ports for minions.
	PublishAddr, RequestAddr netip.AddrPort
	// MaxInFlight is how many requests may be at the master. It is called from any goroutine.
	MaxInFlight func() int
	// Publish and Request are what the channels have done. They are called from any goroutine and must not wait.
	Publish func() pubproxy.Stats
	Request func() retproxy.Stats
	// Masters is what is known of the masters. It is called from any goroutine and must not wait.
	Masters func() masters.State
	// Turned are asked whether event loops turn: nil when all have turned since the call, an error that says which have not
	// when ctx ends before.
	Turned []func(ctx context.Context) error
	// Restarts is how often each channel has been started again.
	Restarts func() (publish, request uint64)
	// Buffered is how many bytes connections have buffered, and how many they may (max_buffered_bytes).
	Buffered func() (used, limit int64)
	// Log gets lines about the server itself.
	Log logrus.FieldLogger
}

// Server answers. It is a service of the supervisor: when it fails, it alone starts again.
type Server struct {
	options  Options
	addr     netip.AddrPort
	listener net.Listener // for the next life; nil: it opens the port itself
	handler  http.Handler
	stopping atomic.Bool // the channels end
	past     past
	every    time.Duration // between two looks
}

// New opens the port and fails when somebody has it. The server answers when Live is called.
func New(ctx context.Context, o Options) (*Server, error) {
	s := &Server{options: o, every: lookEvery}
	if err := s.listen(ctx, o.Listen); err != nil {
		return nil, err
	}
	s.addr = s.listener.Addr().(*net.TCPAddr).AddrPort()
	s.handler = s.routes()
	return s, nil
}

func (s *Server) listen(ctx context.Context, address string) error {
	network := "tcp"
	if addr, err := netip.ParseAddrPort(address); err == nil && addr.Addr().Is4() {
		network = "tcp4" // for "tcp", 0.0.0.0 would be every address of IPv6 as well
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, network, address)
	if err != nil {
		return fmt.Errorf("status port: %w", err)
	}
	s.listener = newLimited(listener, maxConnections)
	return nil
}

// Addr is the address that the server listens on.
func (s *Server) Addr() netip.AddrPort {
	return netip.AddrPortFrom(s.addr.Addr().Unmap(), s.addr.Port())
}

// Close frees the port of a server that is not to live.
func (s *Server) Close() {
	if s.listener != nil {
		s.listener.Close()
	}
}

// Name implements supervise.Service.
func (s *Server) Name() string { return "status server" }

// Loss implements supervise.Service.
func (s *Server) Loss() string { return "numbers and health cannot be asked for meanwhile" }

// Turned implements supervise.Service: there is no event loop here.
func (s *Server) Turned(context.Context) error { return nil }

// Stopping implements supervise.Outlasting: numbers and health can be asked for until the channels have ended, and what is
// ready no more says why.
func (s *Server) Stopping() { s.stopping.Store(true) }

// Live implements supervise.Service: it answers until ctx ends, and returns nil then.
func (s *Server) Live(ctx context.Context) error {
	if s.listener == nil {
		if err := s.listen(ctx, s.addr.String()); err != nil {
			return err
		}
	}
	listener := s.listener
	s.listener = nil
	writer := lines{s.options.Log}
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       log.New(writer, "", 0),
	}
	if s.options.Pprof {
		server.WriteTimeout = profileTimeout
	}
	looking, end := context.WithCancel(ctx)
	var looked sync.WaitGroup
	defer looked.Wait()
	defer end()
	looked.Go(func() { s.look(looking) })
	stopped := make(chan struct{})
	release := context.AfterFunc(ctx, func() {
		defer close(stopped)
		patience, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		if server.Shutdown(patience) != nil {
			_ = server.Close() // who is cut off asks for numbers of a broker that has gone
		}
	})
	err := server.Serve(listener)
	if release() { // nobody stops it: it has failed
		_ = server.Close()
		return fmt.Errorf("status port: %w", err)
	}
	<-stopped
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("status port: %w", err)
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	registry := newRegistry(&s.options)
	mux.HandleFunc("GET /{$}", givePage())
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: writeTimeout / 2}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, r *http.Request) { answer(w, s.live(r.Context())) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer(w, s.ready(r.Context())) })
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		give(w, http.StatusOK, s.reported(r.Context()))
	})
	mux.HandleFunc("GET /history", func(w http.ResponseWriter, _ *http.Request) {
		text, err := json.Marshal(s.past.reports()) // many, and for a program: not indented
		write(w, http.StatusOK, text, err)
	})
	if s.options.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		mux.ServeHTTP(w, r)
	})
}

func newRegistry(o *Options) *prometheus.Registry {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(o), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// answer gives a verdict: 200 when it is good, 503 when not.
func answer(w http.ResponseWriter, v Verdict) {
	code := http.StatusOK
	if !v.OK {
		code = http.StatusServiceUnavailable
	}
	give(w, code, v)
}

func give(w http.ResponseWriter, code int, what any) {
	text, err := json.MarshalIndent(what, "", "  ")
	write(w, code, text, err)
}

func write(w http.ResponseWriter, code int, text []byte, err error) {
	if err != nil { // cannot be: the types here are plain
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // who asked has gone
}

// lines logs what net/http has to say, at debug: it is about who asks, who may ask as often as he likes.
type lines struct{ log logrus.FieldLogger }

func (l lines) Write(p []byte) (int, error) {
	l.log.Debugf("status port: %s", p)
	return len(p), nil
}
