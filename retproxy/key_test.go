package retproxy

import (
	"slices"
	"sync"
	"testing"

	"github.com/tinylib/msgp/msgp"

	"salt-broker/internal/master"
	"salt-broker/internal/salt"
)

// granted is the reply to an _auth, with a key and something of this size before it.
func granted(key string, before int) []byte {
	p := msgp.AppendMapHeader(nil, 3)
	p = salt.AppendRaw(salt.AppendRawString(p, "aes"), make([]byte, before))
	p = salt.AppendRawString(salt.AppendRawString(p, "enc"), "pub")
	return salt.AppendRawString(salt.AppendRawString(p, "pub_key"), key)
}

// TestMasterKey: whoever wants to know is told of the key of each master, once, and when it changes; minions get their
// replies as they are.
func TestMasterKey(t *testing.T) {
	before, after := newMaster(t), newMaster(t)
	var mu sync.Mutex
	var seen []string
	r := start(t, before, func(o *Options) {
		o.MasterKey = func(address string, pem []byte) {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, address+" "+string(pem))
		}
	})
	p := dial(t, r, as{})
	asks := func(m *saltMaster, reply []byte) {
		t.Helper()
		p.asks("_auth")
		m.next().answer(reply)
		p.hears(string(reply))
	}
	asks(before, granted("one", 100))
	asks(before, granted("one", 100))
	asks(before, granted("one", 50)) // elsewhere
	asks(before, []byte("x"))
	asks(before, nil)
	asks(before, granted("two", 50)) // where the other one lay
	asks(before, granted("tw", 50))
	deep := dial(t, r, as{socket: "ROUTER"}) // of a broker: identities before the delimiter
	deep.send(envelope(2, []byte("_auth")))
	before.next().answer(granted("three", 10))
	deep.expect(envelope(2, granted("three", 10)))

	o := r.options
	o.Master.Address = after.addr
	r.Apply(o)
	until(t, "all links to go to the other master", func() bool {
		return !slices.ContainsFunc(r.Stats().Links, func(l master.State) bool { return !l.Connected || l.Master != after.addr })
	})
	asks(after, granted("three", 10))
	mu.Lock()
	defer mu.Unlock()
	want := []string{before.addr + " one", before.addr + " two", before.addr + " tw", before.addr + " three", after.addr + " three"}
	if !slices.Equal(seen, want) {
		t.Errorf("told of %q, want %q", seen, want)
	}
}

// What every reply pays for it, and what those to _auth do.
func BenchmarkLookForKey(b *testing.B) {
	k := &link{lane: &lane{proxy: &Proxy{options: Options{MasterKey: func(string, []byte) {}}}}}
	for name, body := range map[string][]byte{
		"encrypted": salt.AppendRaw(nil, make([]byte, 400)), "auth": granted(string(make([]byte, 450)), 256),
	} {
		reply := envelope(0, body)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				k.lookForKey(reply)
			}
		})
	}
}
