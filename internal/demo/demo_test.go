//go:build linux

package demo

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"salt-broker/internal/sim"
)

// patience is how long a test waits for what must happen. It is long, because it is only ever used up by a failure.
const patience = 60 * time.Second

// output is what a demonstration writes, and tells when something is in it.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
	seen chan struct{}
	want *regexp.Regexp
}

func expecting(pattern string) *output {
	return &output{seen: make(chan struct{}), want: regexp.MustCompile(pattern)}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.text.Write(p)
	if o.want != nil && o.want.Match(o.text.Bytes()) {
		close(o.seen)
		o.want = nil
	}
	return len(p), nil
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// pid is the broker's, from the report.
func (o *output) pid(t *testing.T) int {
	t.Helper()
	m := regexp.MustCompile(`process (\d+),`).FindStringSubmatch(o.String())
	if m == nil {
		t.Fatalf("no process in the report:\n%s", o)
	}
	pid, err := strconv.Atoi(m[1])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// hold holds a demonstration with temporary files of its own, and checks that it leaves nothing.
func hold(ctx context.Context, t *testing.T, o Options) error {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := Run(ctx, o)
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); left != nil {
		t.Errorf("left behind: %q", left)
	}
	if out, ok := o.Output.(*output); ok && strings.Contains(out.String(), "process ") {
		if err := syscall.Kill(out.pid(t), 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("the broker is still there: %v", err)
		}
	}
	return err
}

func TestDemonstration(t *testing.T) {
	for name, live := range map[string]bool{"terminal": true, "lines": false} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SALT_BROKER_CONFIG", "/nowhere") // the broker's environment is its own
			out := expecting("$^")
			if err := hold(t.Context(), t, Options{Program: program, Minions: 30, Duration: 1500 * time.Millisecond, Output: out, Live: live}); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{
				"30 minions on loopback, for 1.5s", `broker    process \d+, minions connect to 127.0.0.1:\d+ and`,
				`jobs to 30 minions`, `\d+ requests: half were answered within [\d.]+ ms`, `for each of \d+ connections`,
				"Good: every job reached every minion",
			} {
				if !regexp.MustCompile(want).MatchString(out.String()) {
					t.Errorf("%q is not in the report:\n%s", want, out)
				}
			}
			if strings.Contains(out.String(), "\x1b") != live {
				t.Errorf("control sequences: %q", out)
			}
		})
	}
}

// The command that a demonstration names shows its broker, as somebody types it in another terminal.
func TestWatched(t *testing.T) {
	command := regexp.MustCompile(`watch it: (.* status --watch -c .*)\n`)
	out := expecting(`1 s  10 minions`)
	ctx, end := context.WithCancel(t.Context())
	watched := make(chan string, 1)
	go func() {
		defer end()
		select {
		case <-out.seen:
		case <-ctx.Done():
			return
		}
		watching, stop := context.WithTimeout(ctx, patience)
		defer stop()
		line := command.FindStringSubmatch(out.String())
		if line == nil {
			return
		}
		shown := expecting(`(?s)minions are served, the master is connected.*10 for publishes at 127.*/s \(.* in, .* to minions`)
		watch := exec.CommandContext(watching, "sh", "-c", "exec "+line[1])
		watch.Stdout, watch.Stderr, watch.WaitDelay = shown, shown, time.Second
		go func() {
			select {
			case <-shown.seen:
			case <-watching.Done():
			}
			stop()
		}()
		_ = watch.Run() // until it has shown it
		watched <- shown.String()
	}()
	if err := hold(ctx, t, Options{Program: program, Minions: 10, Duration: time.Hour, Output: out}); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	select {
	case text := <-watched:
		if !strings.Contains(text, "events ") {
			t.Errorf("it shows\n%s", text)
		}
	default:
		t.Errorf("no command in\n%s", out)
	}
}

// A program is called by its name where that is enough.
func TestCalled(t *testing.T) {
	t.Setenv("PATH", filepath.Dir(program))
	if got := called(program); got != "salt-broker" {
		t.Errorf("in the path it is %s", got)
	}
	t.Setenv("PATH", "/nowhere")
	if got := called(program); got != program {
		t.Errorf("elsewhere it is %s, not %s", got, program)
	}
}

// An interrupted one stops early and is judged for what there was.
func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := expecting(`1 s  10 minions`)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		select {
		case <-out.seen:
			cancel()
		case <-ctx.Done():
		}
	}()
	began := time.Now()
	if err := hold(ctx, t, Options{Program: program, Minions: 10, Duration: time.Hour, Output: out}); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if took := time.Since(began); took > patience {
		t.Errorf("took %s", took)
	}
	cancel()
	<-ended
}

func TestInterruptedAtOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := hold(ctx, t, Options{Program: program, Minions: 10, Duration: time.Hour, Output: expecting("$^")}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestBrokerIsKilled(t *testing.T) {
	out := expecting(`1 s  10 minions`)
	ended := make(chan struct{})
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer close(ended)
		select {
		case <-out.seen:
			_ = syscall.Kill(out.pid(t), syscall.SIGKILL)
		case <-ctx.Done():
		}
	}()
	err := hold(ctx, t, Options{Program: program, Minions: 10, Duration: time.Hour, Output: out})
	if !errors.Is(err, errEnded) {
		t.Errorf("%v\n%s", err, out)
	}
	cancel()
	<-ended
}

func TestNoBroker(t *testing.T) {
	failing, err := exec.LookPath("false")
	if err != nil {
		t.Skip(err)
	}
	unhappy := filepath.Join(t.TempDir(), "broker")
	if err := os.WriteFile(unhappy, []byte("#!/bin/sh\necho no port for me >&2\nexit 1\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	tests := map[string]struct{ program, says string }{
		"not there":       {"/nowhere/salt-broker", "no such file"},
		"ends at once":    {failing, "ended by itself"},
		"ends and says":   {unhappy, "no port for me"},
		"not an elf file": {"/dev/null", "permission denied"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := hold(t.Context(), t, Options{Program: test.program, Minions: 1, Duration: time.Second, Output: expecting("$^")})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v, want %q", err, test.says)
			}
		})
	}
}

func TestTooManyMinions(t *testing.T) {
	err := Run(t.Context(), Options{Program: program, Minions: 1 << 30, Duration: time.Second, Output: expecting("$^")})
	if err == nil || !strings.Contains(err.Error(), "ulimit") {
		t.Error(err)
	}
	for _, o := range []Options{{Minions: 0, Duration: time.Second}, {Minions: 1}} {
		if Run(t.Context(), o) == nil {
			t.Errorf("%+v was held", o)
		}
	}
}

func TestVerdict(t *testing.T) {
	d := &demonstration{open: []uint64{7, 8}}
	tests := map[string]struct {
		stats sim.MinionsStats
		want  string
	}{
		"missed":  {sim.MinionsStats{Missed: 1200}, "1,200 jobs were left out"},
		"doubled": {sim.MinionsStats{Doubled: 1}, "1 jobs came twice"},
		"open":    {sim.MinionsStats{}, "2 jobs have not reached everyone"},
		"waiting": {sim.MinionsStats{}, "3 requests were not answered"},
		"first":   {sim.MinionsStats{Damaged: 1, FirstFault: errors.New("minion-00001: x")}, "the first of these: minion-00001: x"},
		"exit":    {sim.MinionsStats{}, "did not stop as it should: exit status 1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := strings.Join(d.faults(test.stats, 3, errors.New("exit status 1")), "; ")
			if !strings.Contains(got, test.want) {
				t.Errorf("%q is not in %q", test.want, got)
			}
		})
	}
	if faults := (&demonstration{}).faults(sim.MinionsStats{Replies: 9, Jobs: 9}, 0, nil); faults != nil {
		t.Errorf("%q", faults)
	}
}

func TestWords(t *testing.T) {
	for want, got := range map[string]string{
		"0": grouped(0), "999": grouped(999), "1,000": grouped(1000), "12,345,678": grouped(12345678),
		"0.3 ms": short(300 * time.Microsecond), "12 ms": short(12 * time.Millisecond), "1.5 s": short(1500 * time.Millisecond),
		"17 B": size(17), "1.5 KiB": size(1536), "20.0 MiB": size(20 << 20),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// A block of figures replaces the one before, also when it is shorter.
func TestScreen(t *testing.T) {
	var b bytes.Buffer
	s := newScreen(&b, true)
	s.block([]string{"one", "two"})
	s.block([]string{"three"})
	s.line("end")
	s.block([]string{"four"})
	want := "\rone\x1b[K\n\rtwo\x1b[K\n" + "\x1b[2A\rthree\x1b[K\n\r\x1b[K\n" + "end\n" + "\rfour\x1b[K\n"
	if b.String() != want {
		t.Errorf("%q\n%q", b.String(), want)
	}
}

func TestJudge(t *testing.T) {
	for name, test := range map[string]struct {
		stats sim.MinionsStats
		said  string
		want  string
		err   error
	}{
		"good":   {sim.MinionsStats{Jobs: 9, Replies: 9}, "[WARNING ] never mind", "Good: every job", nil},
		"lost":   {sim.MinionsStats{Missed: 1}, "[ERROR   ] what a pity", "FAILED: 1 jobs were left out between two that came.\nThe broker said:\n  [ERROR   ] what a pity\n", ErrFailed},
		"silent": {sim.MinionsStats{TimedOut: 2}, "", "FAILED: 2 requests timed out.\n", ErrFailed},
	} {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			d := &demonstration{screen: newScreen(&out, false), broker: &broker{}}
			_, _ = d.broker.said.Write([]byte(test.said))
			if err := d.judge(sample{minions: test.stats}, 0, nil); !errors.Is(err, test.err) {
				t.Error(err)
			}
			if !strings.Contains(out.String(), test.want) || strings.Contains(out.String(), "never mind") {
				t.Errorf("%s", &out)
			}
		})
	}
}
