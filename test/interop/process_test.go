package interop_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"crypto/sha3"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"testing"
	"time"
)

// python is Debian's: other interpreters have other site-packages.
const python = "/usr/bin/python3"

// needLibzmq skips a test where python3-zmq is not installed. SALT_BROKER_REQUIRE_TOOLS=1 makes that a failure.
func needLibzmq(t testing.TB) {
	t.Helper()
	if err := libzmq(); err != nil {
		if os.Getenv("SALT_BROKER_REQUIRE_TOOLS") == "1" {
			t.Fatalf("python3-zmq is required: %v", err)
		}
		t.Skipf("needs python3-zmq: %v", err)
	}
}

var libzmq = sync.OnceValue(func() error {
	out, err := exec.Command(python, "-c", "import zmq").CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
})

// process is a peer with libzmq: testdata/peer.py.
type process struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *os.File
	buf *bufio.Reader
	end func()
}

// step is one line to a peer: "step" names the function in peer.py, the others are its arguments.
type step map[string]any

// answer is one line from a peer.
type answer struct {
	Error    string     `json:"error"`
	Has      bool       `json:"has"`
	Port     int        `json:"port"`
	Messages []string   `json:"messages"` // digests
	Raw      [][]string `json:"raw"`      // frames, in hex
}

// startProcess starts a peer, which is killed at the end of the test at the latest.
func startProcess(t testing.TB) *process {
	t.Helper()
	needLibzmq(t)
	out, theirs, err := os.Pipe() // and not StdoutPipe: this one can have deadlines
	if err != nil {
		t.Fatal(err)
	}
	defer theirs.Close()
	cmd := exec.Command(python, "testdata/peer.py")
	cmd.Stdout = theirs
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: cmd, in: in, out: out, buf: bufio.NewReader(out)}
	p.end = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = out.Close()
		if stderr.Len() > 0 {
			t.Errorf("the peer wrote: %s", stderr.String())
		}
	})
	t.Cleanup(p.end)
	return p
}

// kill ends a process as a power failure would, and returns when it has ended.
func (p *process) kill() { p.end() }

// begin hands a peer a step and does not wait for it to be done. Steps are done one after the other.
func (p *process) begin(s step) {
	p.t.Helper()
	line, err := json.Marshal(s)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		p.t.Fatalf("step %v: %v", s["step"], err)
	}
}

// finish waits for the answer to the oldest step that has none.
func (p *process) finish() answer {
	p.t.Helper()
	_ = p.out.SetReadDeadline(time.Now().Add(2 * patience))
	line, err := p.buf.ReadBytes('\n')
	if err != nil {
		p.t.Fatalf("the peer does not answer: %v", err)
	}
	var a answer
	if err := json.Unmarshal(line, &a); err != nil {
		p.t.Fatalf("answer %q: %v", line, err)
	}
	if a.Error != "" {
		p.t.Fatalf("the peer says: %s", a.Error)
	}
	return a
}

// do has a peer do a step.
func (p *process) do(s step) answer {
	p.t.Helper()
	p.begin(s)
	return p.finish()
}

type options map[string]any

func (p *process) socket(name, kind string, o options) {
	p.t.Helper()
	if o == nil {
		o = options{}
	}
	p.do(step{"step": "socket", "name": name, "kind": kind, "options": o})
}

// listen makes a socket of a master and returns its port; port 0 lets the kernel choose.
func (p *process) listen(name, kind string, port int, o options) int {
	p.t.Helper()
	p.socket(name, kind, o)
	return p.do(step{"step": "bind", "name": name, "port": port}).Port
}

// join makes a socket of a minion and connects it.
func (p *process) join(name, kind, address string, o options) {
	p.t.Helper()
	p.socket(name, kind, o)
	p.do(step{"step": "connect", "name": name, "address": address})
}

func (p *process) close(name string) {
	p.t.Helper()
	p.do(step{"step": "close", "name": name})
}

func (p *process) subscribe(name string, topics ...string) {
	p.t.Helper()
	for _, topic := range topics {
		p.do(step{"step": "subscribe", "name": name, "topic": topic})
	}
}

func (p *process) unsubscribe(name, topic string) {
	p.t.Helper()
	p.do(step{"step": "unsubscribe", "name": name, "topic": topic})
}

func (p *process) send(name string, frames ...[]byte) {
	p.t.Helper()
	spec := make([]string, len(frames))
	for i, f := range frames {
		spec[i] = hex.EncodeToString(f)
	}
	p.do(step{"step": "send", "name": name, "frames": spec})
}

// recv returns the digests of the next messages.
func (p *process) recv(name string, count int) []string {
	p.t.Helper()
	return p.do(step{"step": "recv", "name": name, "count": count}).Messages
}

// recvRaw returns the next message.
func (p *process) recvRaw(name string) [][]byte {
	p.t.Helper()
	var frames [][]byte
	for _, f := range p.do(step{"step": "recv", "name": name, "raw": true}).Raw[0] {
		b, err := hex.DecodeString(f)
		if err != nil {
			p.t.Fatal(err)
		}
		frames = append(frames, b)
	}
	return frames
}

// hears waits for what an XPUB master is told: "+topic" or "-topic", in any order.
func (p *process) hears(name string, want ...string) {
	p.t.Helper()
	var got []string
	for range want {
		frames := p.recvRaw(name)
		if len(frames) != 1 || len(frames[0]) == 0 || frames[0][0] > 1 {
			p.t.Fatalf("the master got %q for a subscription", frames)
		}
		got = append(got, string("-+"[frames[0][0]])+string(frames[0][1:]))
	}
	slices.Sort(got)
	want = slices.Sorted(slices.Values(want))
	if !slices.Equal(got, want) {
		p.t.Fatalf("the master heard %q, want %q", got, want)
	}
}

// series describes messages of a number each, made alike by peer.py and here.
type series struct {
	heads        [][]string // the first frames of the messages, in turns
	first, count int
	parts, size  int // frames after the head, and their size
}

func (p *process) stream(name string, s series) {
	p.t.Helper()
	p.beginStream(name, s)
	p.finish()
}

func (p *process) beginStream(name string, s series) {
	p.t.Helper()
	heads := make([][]string, len(s.heads))
	for i, head := range s.heads {
		heads[i] = []string{}
		for _, f := range head {
			heads[i] = append(heads[i], hex.EncodeToString([]byte(f)))
		}
	}
	p.begin(step{
		"step": "stream", "name": name, "heads": heads, "first": s.first, "count": s.count, "parts": s.parts,
		"size": s.size,
	})
}

// message is message i of a series.
func (s series) message(i int) [][]byte {
	var frames [][]byte
	for _, f := range s.heads[i%len(s.heads)] {
		frames = append(frames, []byte(f))
	}
	for k := range s.parts {
		frames = append(frames, filler(fmt.Sprintf("%d/%d", i, k), s.size))
	}
	return frames
}

// digests are those of the messages that want says yes to; nil wants all.
func (s series) digests(want func(head []string) bool) []string {
	var all []string
	for i := s.first; i < s.first+s.count; i++ {
		if want == nil || want(s.heads[i%len(s.heads)]) {
			all = append(all, digest(s.message(i)...))
		}
	}
	return all
}

// filler is the frame that peer.py makes of [seed, size].
func filler(seed string, size int) []byte {
	b := sha3.SumSHAKE128([]byte(seed), min(size, fillerPeriod))
	for len(b) < size {
		b = append(b, b[:min(len(b), size-len(b))]...)
	}
	return b
}

// fillerPeriod is prime, so that no exchange of buffers goes unnoticed.
const fillerPeriod = 65521

// digest is what peer.py says of a message.
func digest(frames ...[]byte) string {
	h := sha256.New()
	for _, f := range frames {
		_, _ = h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(f))))
		_, _ = h.Write(f)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// answered is what the workers of peer.py reply with.
func answered(frames ...[]byte) [][]byte {
	replies := make([][]byte, len(frames))
	for i, f := range frames {
		replies[i] = slices.Clone(f)
		slices.Reverse(replies[i])
	}
	return replies
}

// same compares lists of digests and says where they part.
func same(t testing.TB, who string, got, want []string) {
	t.Helper()
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			t.Fatalf("%s: message %d of %d is another one; it is number %d of those expected", who, i, len(want),
				slices.Index(want, got[i]))
		}
	}
	if len(got) != len(want) {
		t.Fatalf("%s: %d messages, want %d", who, len(got), len(want))
	}
}
