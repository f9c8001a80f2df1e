//go:build linux

package page

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// browser is a Chromium without a window, with one tab.
type browser struct {
	t       *testing.T
	process *exec.Cmd
	said    bytes.Buffer // what it wrote; read when it has ended
	to      *os.File
	ended   chan struct{} // nothing more is read
	session string        // the tab's

	mu     sync.Mutex
	calls  map[int]chan<- answer
	last   int      // call
	faults []string // errors and warnings of the tab's console
	gone   bool     // it answers no more
}

// answer is what comes back from a call.
type answer struct {
	Result json.RawMessage
	Error  *struct{ Message string }
}

// startBrowser starts one that is gone when the test ends. It ends by itself when its pipe does, so it does not outlive
// a test that is killed either.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	path, home := chromium(t), t.TempDir()
	// Of each pipe, Chromium has one end, as its descriptors 3 and 4.
	hears, to, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	from, says, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, to: to, ended: make(chan struct{}), calls: map[int]chan<- answer{}}
	b.process = exec.Command(path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+home,
		"--remote-debugging-pipe")
	b.process.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home)
	b.process.ExtraFiles = []*os.File{hears, says}
	b.process.Stdout, b.process.Stderr = &b.said, &b.said
	b.process.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	b.process.WaitDelay = patience
	if err := b.process.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = hears.Close(), says.Close()
	go b.listen(from)
	t.Cleanup(b.stop)

	var target struct{ TargetID string }
	b.call("Target.createTarget", map[string]any{"url": "about:blank"}, &target)
	var attached struct{ SessionID string }
	b.call("Target.attachToTarget", map[string]any{"targetId": target.TargetID, "flatten": true}, &attached)
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log"} {
		b.call(domain+".enable", nil, nil)
	}
	return b
}

// stop ends it in order, or by force.
func (b *browser) stop() {
	force := time.AfterFunc(patience, func() { _ = syscall.Kill(-b.process.Process.Pid, syscall.SIGKILL) })
	defer force.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b.session = ""
	_ = b.try(ctx, "Browser.close", nil, nil) // it may be gone before it has answered
	_ = b.to.Close()
	<-b.ended
	if err := b.process.Wait(); err != nil {
		b.t.Errorf("chromium ended with %v:\n%s", err, b.said.String())
	}
}

// listen reads what Chromium says: answers, and events of the tab. Each ends with a zero byte.
func (b *browser) listen(from *os.File) {
	defer close(b.ended)
	defer from.Close()
	messages := bufio.NewReader(from)
	for {
		text, err := messages.ReadBytes(0)
		if err != nil {
			b.mu.Lock()
			defer b.mu.Unlock()
			b.gone = true
			for _, call := range b.calls {
				close(call)
			}
			return
		}
		var message struct {
			ID     int
			Method string
			Params json.RawMessage
			answer
		}
		if err := json.Unmarshal(bytes.TrimSuffix(text, []byte{0}), &message); err != nil {
			b.fault(fmt.Sprintf("%v in %s", err, text))
			continue
		}
		if message.ID == 0 {
			b.happened(message.Method, message.Params)
			continue
		}
		b.mu.Lock()
		if call := b.calls[message.ID]; call != nil {
			call <- message.answer // it has room
			delete(b.calls, message.ID)
		}
		b.mu.Unlock()
	}
}

// happened keeps what a developer would see in red or yellow.
func (b *browser) happened(method string, params json.RawMessage) {
	var event struct {
		Type  string // of Runtime.consoleAPICalled
		Entry struct{ Level string }
	}
	_ = json.Unmarshal(params, &event) // other events have other fields
	switch method {
	case "Runtime.exceptionThrown":
	case "Runtime.consoleAPICalled":
		if event.Type != "error" && event.Type != "warning" && event.Type != "assert" {
			return
		}
	case "Log.entryAdded":
		if event.Entry.Level != "error" && event.Entry.Level != "warning" {
			return
		}
	default:
		return
	}
	b.fault(fmt.Sprintf("%s: %s", method, params))
}

func (b *browser) fault(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.faults = append(b.faults, text)
}

// complaints are what it has found wrong with the page so far.
func (b *browser) complaints() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]string(nil), b.faults...)
}

// call asks for something and decodes the result, unless that is nil.
func (b *browser) call(method string, params, result any) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := b.try(ctx, method, params, result); err != nil {
		b.t.Fatalf("%s: %v", method, err)
	}
}

var errGone = errors.New("chromium has gone")

func (b *browser) try(ctx context.Context, method string, params, result any) error {
	got := make(chan answer, 1)
	b.mu.Lock()
	if b.gone {
		b.mu.Unlock()
		return errGone
	}
	b.last++
	id := b.last
	b.calls[id] = got
	b.mu.Unlock()
	message := map[string]any{"id": id, "method": method}
	if params != nil {
		message["params"] = params
	}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	text, err := json.Marshal(message)
	if err != nil {
		return err
	}
	if _, err := b.to.Write(append(text, 0)); err != nil {
		return err
	}
	select {
	case a, ok := <-got:
		switch {
		case !ok:
			return errGone
		case a.Error != nil:
			return errors.New(a.Error.Message)
		case result == nil:
			return nil
		}
		return json.Unmarshal(a.Result, result)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// evaluate returns the value of an expression, which may be a promise of one, in the page.
func evaluate[T any](ctx context.Context, b *browser, expression string) (value T, err error) {
	var got struct {
		Result           struct{ Value T }
		ExceptionDetails json.RawMessage
	}
	err = b.try(ctx, "Runtime.evaluate", map[string]any{"expression": expression, "awaitPromise": true, "returnByValue": true}, &got)
	if err == nil && got.ExceptionDetails != nil {
		err = fmt.Errorf("%s", got.ExceptionDetails)
	}
	return got.Result.Value, err
}
