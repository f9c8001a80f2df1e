//go:build linux

package sim

import (
	"bytes"
	"testing"
	"time"

	"salt-broker/internal/salt"
)

// Sizes are those that were seen, and no byte of a message can change unnoticed.
func TestContents(t *testing.T) {
	job := Job{Master: 3, Order: 9, Serial: 4, Series: seriesOf([]byte("x")), Sent: time.Unix(1_700_000_000, 5)}
	var scratch []byte
	q := Question{Minion: 17, Nonce: 5, ReplyBytes: DefaultReplyBytes}
	id := []byte(MinionID(17))
	tests := map[string]struct {
		bytes []byte
		size  int
		parse func(p []byte) (any, error)
		want  any
	}{
		"job": {AppendJob(nil, job, DefaultJobBytes), DefaultJobBytes, func(p []byte) (any, error) { return ParseJob(p) }, job},
		"request": {
			AppendRequest(nil, q, DefaultRequestBytes, id, &scratch), DefaultRequestBytes,
			func(p []byte) (any, error) { return parseRequest(p) }, q,
		},
		"answer": {appendAnswer(nil, q), DefaultReplyBytes, func(p []byte) (any, error) {
			minion, nonce, err := ParseAnswer(p)
			return Question{minion, nonce, DefaultReplyBytes}, err
		}, q},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if len(test.bytes) != test.size {
				t.Errorf("%d bytes, want %d", len(test.bytes), test.size)
			}
			got, err := test.parse(test.bytes)
			if err != nil || got != test.want {
				t.Fatalf("%+v, %v; want %+v", got, err, test.want)
			}
			for n := range test.bytes {
				if _, err := test.parse(test.bytes[:n]); err == nil {
					t.Errorf("the first %d bytes are accepted", n)
				}
				changed := bytes.Clone(test.bytes)
				changed[n] ^= 0x10
				if got, err := test.parse(changed); err == nil && (got != test.want || name == "answer") {
					t.Errorf("changed at %d: %+v", n, got)
				}
			}
		})
	}
	for _, size := range []int{0, 20, 300, 1 << 10, 200 << 10} {
		if _, err := ParseJob(AppendJob(nil, job, size)); err != nil {
			t.Errorf("a job of %d bytes: %v", size, err)
		}
		q.ReplyBytes = uint32(size)
		if _, _, err := ParseAnswer(appendAnswer(nil, q)); err != nil {
			t.Errorf("a reply of %d bytes: %v", size, err)
		}
		if _, err := parseRequest(AppendRequest(nil, q, size, id, &scratch)); err != nil {
			t.Errorf("a request of %d bytes: %v", size, err)
		}
	}
}

func TestAnswers(t *testing.T) {
	if reply, good := Answer(nil, salt.AppendPing(nil)); !good || !salt.IsPingReply(reply) {
		t.Errorf("%x to a ping", reply)
	}
	for _, body := range [][]byte{nil, []byte("x"), salt.AppendRequest(nil, []byte("y"), 3, nil)} {
		if reply, good := Answer(nil, body); good || string(reply) != "\xa8bad load" {
			t.Errorf("%q to %q", reply, body)
		}
	}
}

// What minions of Salt 3006 with zmq_filtering have subscribed to.
var recordedTopics = map[string]string{
	"m1": "ae23b94ccaf714337e4ce5ba99ef3dc257e300df",
	"m2": "32d332da761f44df7959e5887b6b94cb4667d781",
	"m3": "862a51f8b6294a4b0729a7c5c929bfd67068d962",
}

func TestTopic(t *testing.T) {
	for id, want := range recordedTopics {
		if got := Topic(id); got != want {
			t.Errorf("%s: %s, want %s", id, got, want)
		}
	}
}

func TestLatency(t *testing.T) {
	for _, d := range []time.Duration{0, 1, 31, 32, 33, 1000, time.Millisecond, time.Minute, 1<<63 - 1} {
		b := bucketOf(d)
		if up := upperEnd(b); up < d || float64(up) > float64(d)*1.07 {
			t.Errorf("%d is in a bucket that ends at %d", d, up)
		}
	}
	var one, two histogram
	if l := summarize(&one, &two); l != (Latency{}) {
		t.Errorf("%+v of nothing", l)
	}
	for i := range 99 {
		one.observe(time.Duration(i+1) * time.Microsecond)
	}
	two.observe(time.Second)
	l := summarize(&one, &two)
	if l.Count != 100 || l.Max != time.Second || l.P50 < 50*time.Microsecond || l.P50 > 54*time.Microsecond ||
		l.P99 < 99*time.Microsecond || l.P99 > 106*time.Microsecond {
		t.Errorf("%+v", l)
	}
}
