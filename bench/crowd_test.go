//go:build linux

package main

import (
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

// A minion of the crowd takes what is right and nothing else: a relay that damages, repeats, loses or misdirects fails.
func TestMinionsCheck(t *testing.T) {
	message := func(order uint64, topic []byte, spoil int) []byte {
		payload := appendPublication(nil, publication{run: 1, order: order, sent: time.Now()}, smallBytes)
		if spoil >= 0 {
			payload[spoil] ^= 1
		}
		var msg []byte
		if topic != nil {
			msg = zmtp.AppendFrame(msg, true, topic)
		}
		return zmtp.AppendFrame(msg, false, payload)
	}
	const whole = -1
	for name, c := range map[string]struct {
		topic    []byte
		messages [][]byte
		good     bool
	}{
		"in order":      {nil, [][]byte{message(1, nil, whole), message(2, nil, whole)}, true},
		"topics skip":   {topicOf(7), [][]byte{message(1, topicOf(7), whole), message(9, topicOf(7), whole)}, true},
		"lost":          {nil, [][]byte{message(1, nil, whole), message(3, nil, whole)}, false},
		"first lost":    {nil, [][]byte{message(2, nil, whole)}, false},
		"twice":         {nil, [][]byte{message(1, nil, whole), message(1, nil, whole)}, false},
		"swapped":       {topicOf(7), [][]byte{message(9, topicOf(7), whole), message(1, topicOf(7), whole)}, false},
		"of another":    {topicOf(7), [][]byte{message(1, topicOf(8), whole)}, false},
		"without topic": {topicOf(7), [][]byte{message(1, nil, whole)}, false},
		"damaged":       {nil, [][]byte{message(1, nil, publicationHead+200)}, false},
		"damaged end":   {nil, [][]byte{message(1, nil, smallBytes-1)}, false},
		"damaged order": {nil, [][]byte{message(1, nil, 14)}, false},
		"cut short":     {nil, [][]byte{zmtp.AppendFrame(nil, false, message(1, nil, whole)[9:200])}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := &member{crowd: &crowd{loop: &sockets{}, members: make([]*member, 3), filtered: c.topic != nil}, topic: c.topic}
			var err error
			for _, msg := range c.messages {
				if err == nil {
					err = m.Message(msg)
				}
			}
			if (err == nil) != c.good {
				t.Errorf("error: %v", err)
			}
		})
	}
}

// A publish counts as arrived when the last one has it, and late ones of an earlier run do not count.
func TestCompleteWithTheLast(t *testing.T) {
	c := &crowd{loop: &sockets{}, rest: time.Hour, members: make([]*member, 3)}
	for i, step := range []struct {
		run      uint32
		order    uint64
		complete uint64
	}{
		{1, 1, 0}, {1, 1, 0}, {2, 1, 0}, {1, 1, 0}, {2, 1, 0}, {2, 2, 0}, {2, 1, 1}, {2, 2, 1}, {2, 2, 2},
	} {
		c.got(publication{run: step.run, order: step.order, sent: time.Now()})
		if c.complete != step.complete {
			t.Fatalf("step %d: %d complete, want %d", i, c.complete, step.complete)
		}
	}
	if len(c.spans) != 2 {
		t.Errorf("%d spans", len(c.spans))
	}
}
