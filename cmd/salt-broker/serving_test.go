package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"salt-broker/config"
	"salt-broker/internal/reactor"
	"salt-broker/internal/supervise"
)

// acting is a proxy that does what a test says.
type acting func(ctx context.Context) error

func (a acting) Run(ctx context.Context) error { return a(ctx) }
func (a acting) Stats() nothingCounted         { return nothingCounted{} }
func (acting) Turned(context.Context) error    { return nil }

type nothingCounted struct{}

func (n nothingCounted) After(nothingCounted) nothingCounted { return n }
func (n nothingCounted) Ended() nothingCounted               { return n }

// always is a channel that does the same in each of its lives.
func always(name string, what acting) supervise.Service {
	return supervise.NewChannel(name, what, func() (acting, error) { return what, nil })
}

func untilStopped(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func noTime() time.Duration { return 0 }

// A reload that panics is logged and costs nothing else, and the next one is heard.
func TestReloadWatcherPanics(t *testing.T) {
	var terminal bytes.Buffer
	log := logTo(t, &terminal, nil)
	reads := 0
	begun, over := make(chan struct{}, 2), make(chan struct{})
	watcher := newReloadWatcher(func() {
		begun <- struct{}{}
		if reads++; reads == 1 {
			panic("no page of the configuration")
		}
		close(over)
	})
	lives := 0
	publish := always("publish", func(ctx context.Context) error { lives++; return untilStopped(ctx) })
	signals := make(chan os.Signal, 2)
	s := serving{log: log, drain: noTime, reload: watcher.ask}
	ended := make(chan error, 1)
	go func() { ended <- s.run(t.Context(), signals, publish, watcher.service()) }()
	signals <- syscall.SIGHUP
	<-begun
	signals <- syscall.SIGHUP
	<-over
	signals <- syscall.SIGTERM
	if err := <-ended; err != nil {
		t.Error(err)
	}
	log.close()
	if lives != 1 {
		t.Errorf("the channel has had %d lives", lives)
	}
	for _, want := range []string{
		"[CRITICAL] reload watcher: panic: no page of the configuration\n",
		"[ERROR   ] the reload watcher has failed, the configuration may have been read and not taken over; it starts again now",
	} {
		if !strings.Contains(terminal.String(), want) {
			t.Errorf("the log is\n%swithout\n%s", terminal.String(), want)
		}
	}
}

func TestServing(t *testing.T) {
	panicked := &reactor.PanicError{Value: "index out of range", Stack: []byte("goroutine 9 [running]:\nmain.f()\n\t/src/f.go:1\n")}
	for _, test := range []struct {
		name    string
		signals []os.Signal
		first   acting
		says    string // "": no error
		logs    string
	}{
		{"told to stop", []os.Signal{syscall.SIGTERM}, untilStopped, "", "[INFO    ] told to stop: terminated\n"},
		{"one signal that comes twice", []os.Signal{syscall.SIGTERM, syscall.SIGTERM}, untilStopped, "", ""},
		{
			"failing again and again stops the other", nil, func(context.Context) error { return errors.New("no memory") },
			"publish channel: failed 6 times, too often to go on: no memory",
			`[ERROR   ] one service fails again and again, and so the others are stopped error="publish channel: failed 6 times, too often to go on: no memory"`,
		},
		{
			"a failure starts it again", nil, func(context.Context) error { return errors.New("no memory") },
			"publish channel: failed 6 times, too often to go on: no memory",
			`[ERROR   ] the publish channel has failed, its minions were cut off and will connect again; it starts again now error="no memory" failures=1`,
		},
		{
			"ends that nobody asked for", nil, func(context.Context) error { return nil },
			"publish channel: failed 6 times, too often to go on: ended by itself", "",
		},
		{
			"panics", nil, func(context.Context) error { return panicked },
			"publish channel: failed 6 times, too often to go on: panic: index out of range; this is a fault of salt-broker's own: please report it with the stack in the log",
			"[CRITICAL] publish channel: panic: index out of range\n[CRITICAL] goroutine 9 [running]:\n[CRITICAL] main.f()\n[CRITICAL]     /src/f.go:1\n",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var terminal bytes.Buffer
			log := logTo(t, &terminal, func(c *config.Config) { c.LogLevel = "info" })
			signals := make(chan os.Signal, len(test.signals))
			for _, s := range test.signals {
				signals <- s
			}
			s := serving{log: log, drain: noTime, twins: time.Hour, restarts: supervise.Options{Pause: time.Millisecond}}
			err := s.run(t.Context(), signals, always("publish", test.first), always("request", untilStopped))
			if err != nil {
				log.last(err)
			}
			log.close()
			var said bytes.Buffer
			if err != nil {
				say(&said, err)
			}
			want := ""
			if test.says != "" {
				want = "salt-broker: " + test.says + "\n"
			}
			if said.String() != want {
				t.Errorf("it says %q, want %q", said.String(), want)
			}
			if !strings.Contains(terminal.String(), test.logs) {
				t.Errorf("the log is\n%swithout\n%s", terminal.String(), test.logs)
			}
			if s.since.IsZero() {
				t.Error("nobody has noted when stopping began")
			}
			if err != nil && codeOf(err) != exitRuntime {
				t.Errorf("exit code %d", codeOf(err))
			}
		})
	}
}

func TestSecondSignalDoesNotWaitForTheChannels(t *testing.T) {
	log := logTo(t, &bytes.Buffer{}, nil)
	defer log.close()
	goOn, over := make(chan struct{}), make(chan struct{})
	hanging := func(context.Context) error {
		<-goOn
		close(over)
		return nil
	}
	signals := make(chan os.Signal, 2)
	signals <- syscall.SIGTERM
	signals <- syscall.SIGINT
	s := serving{log: log, drain: noTime}
	if err := s.run(t.Context(), signals, always("publish", hanging)); !errors.Is(err, errTwice) {
		t.Errorf("error %v", err)
	}
	close(goOn)
	<-over
}

func TestExitCodes(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		want int
	}{
		{"nothing wrong", nil, 0},
		{"anything", errors.New("x"), 1},
		{"faults", misconfigured{config.Faults{{Why: "x"}}}, 2},
		{"said already", misconfigured{errSaid}, 2},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := codeOf(test.err); got != test.want {
				t.Errorf("exit code %d, want %d", got, test.want)
			}
		})
	}
}

func TestWhyAPortCannotBeOpened(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{syscall.EADDRINUSE, "ret_port 4506 is taken by another program (another salt-broker?): stop it or set ret_port"},
		{syscall.EACCES, "ret_port 4506 is not for everybody to open: set ret_port to 1024 or more, or start as root"},
		{syscall.EADDRNOTAVAIL, "ret_port 4506 cannot be opened: interface 10.0.0.1 is no address of this machine: set interface"},
		{syscall.EAFNOSUPPORT, "ret_port 4506 cannot be opened: this machine has no addresses like interface 10.0.0.1: set interface"},
		{syscall.EMFILE, "ret_port 4506 cannot be opened: too many open files: raise the hard limit (LimitNOFILE in the unit)"},
		{syscall.ENOBUFS, "ret_port 4506 cannot be opened: listen tcp: no buffer space available"},
	} {
		t.Run(test.err.Error(), func(t *testing.T) {
			wrapped := &os.SyscallError{Syscall: "listen tcp", Err: test.err}
			if got := cannotListen(wrapped, "ret_port", 4506, "interface", "10.0.0.1").Error(); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}
