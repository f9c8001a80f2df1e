package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

func TestDescriptorsWarnOnce(t *testing.T) {
	for _, tt := range []struct {
		name     string
		inUse    []int // of 1000, one after the other
		warnings int
	}{
		{"few", []int{10, 500, 899}, 0},
		{"near the end", []int{899, 900}, 1},
		{"all at once", []int{10, 1000}, 1},
		{"near the end for long", []int{900, 950, 1000, 900}, 1},
		{"up and down", []int{900, 800, 900, 899, 801, 950}, 1},
		{"again after it was below", []int{900, 799, 899, 900, 905}, 2},
		{"below for long", []int{900, 799, 100, 800}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			logger, lines := logtest.NewNullLogger()
			inUse := 0
			d := descriptors{
				limit: 1000, others: 7, log: logger,
				publish: func() int { return inUse/2 - 7 }, requests: func() int { return inUse - inUse/2 },
			}
			for _, inUse = range tt.inUse {
				d.look()
			}
			if n := len(lines.AllEntries()); n != tt.warnings {
				t.Errorf("%d warnings, want %d", n, tt.warnings)
			}
		})
	}
}

func TestDescriptorsSayNumbers(t *testing.T) {
	logger, lines := logtest.NewNullLogger()
	d := descriptors{
		limit: 100, others: 10, log: logger, publish: func() int { return 50 }, requests: func() int { return 35 },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ticks, ended := make(chan time.Time), make(chan struct{})
	go func() {
		defer close(ended)
		d.watch(ctx, ticks)
	}()
	ticks <- time.Time{}
	ticks <- time.Time{} // the first look is over
	cancel()
	<-ended
	all := lines.AllEntries()
	if len(all) != 1 || all[0].Level != logrus.WarnLevel ||
		!strings.HasPrefix(all[0].Message, "95 of 100 file descriptors are in use, 50 by minions on publish_port and 35 on ret_port") {
		t.Errorf("%v", all)
	}
}

// TestDescriptorsOfABroker: what it counts is what the system does.
func TestDescriptorsOfABroker(t *testing.T) {
	t.Parallel()
	l := newPlace(t, "loops: 1")
	p := launchIn(t, nil, exec.Command("sh", "-c", `ulimit -n 64 && exec "$0" -c "$1"`, program, l.dir))
	p.ready(t)
	open := func() int {
		names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return len(names)
	}
	ports := []int{l.publish, l.request}
	for i := range 64*nearly/100 - open() + 1 {
		nc, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", ports[i%2]))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
	}
	p.stderr.expect(t, " of 64 file descriptors are in use, ", p.ended)
}

func TestOpenDescriptors(t *testing.T) {
	before := openDescriptors()
	for range 100 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
	}
	after := openDescriptors()
	if more := after - before; before < 3 || more < 90 || more > 110 { // other tests have files, too
		t.Errorf("%d, and with a hundred more files %d", before, after)
	}
}
