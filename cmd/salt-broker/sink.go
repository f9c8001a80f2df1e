package main

import (
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// sinkLines is how many lines may wait for a slow terminal or disk.
const sinkLines = 4096

// sink is where lines of the log go. Event loops log, and must not wait for a terminal that somebody has stopped with ^S
// or for a disk: lines are queued, and when the queue is full they are lost and counted.
type sink struct {
	threshold logrus.Level // guarded by the mu of logging
	layout    layout
	out       io.Writer // owned by run
	queue     chan []byte
	lost      atomic.Uint64
	stop      chan struct{}
	ended     chan struct{}
}

func newSink(threshold logrus.Level, layout layout, out io.Writer) *sink {
	s := &sink{
		threshold: threshold, layout: layout, out: out,
		queue: make(chan []byte, sinkLines), stop: make(chan struct{}), ended: make(chan struct{}),
	}
	go s.run()
	return s
}

// put takes a line and does not wait. It may be called from anywhere, also after close.
func (s *sink) put(e *logrus.Entry) {
	select {
	case s.queue <- s.layout(e):
	default:
		s.lost.Add(1)
	}
}

func (s *sink) run() {
	defer close(s.ended)
	for {
		select {
		case line := <-s.queue:
			s.write(line)
		case <-s.stop:
			for {
				select {
				case line := <-s.queue:
					s.write(line)
				default:
					return
				}
			}
		}
	}
}

// write writes a line. There is nobody left to tell when that fails, and a full disk must not end a relay.
func (s *sink) write(line []byte) {
	_, _ = s.out.Write(line)
	if n := s.lost.Swap(0); n > 0 {
		e := logrus.Entry{Time: time.Now(), Level: logrus.WarnLevel, Message: fmt.Sprintf("%d lines were not logged here: this output was too slow", n)}
		_, _ = s.out.Write(s.layout(&e))
	}
}

// close writes what waits, as far as timeout goes.
func (s *sink) close(timeout time.Duration) {
	close(s.stop)
	select {
	case <-s.ended:
		if file, ok := s.out.(*logFile); ok {
			_ = file.file.Close()
		}
	case <-time.After(timeout):
	}
}
