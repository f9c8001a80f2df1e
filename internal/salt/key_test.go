package salt

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

var pem = []byte("-----BEGIN PUBLIC KEY-----\nMIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA\n-----END PUBLIC KEY-----")

// granted is what a master says to who may come in: {enc: pub, pub_key, publish_port, aes, sig}.
func granted() []byte {
	p := msgp.AppendMapHeader(nil, 5)
	p = appendKeyed(p, keyEnc, EncPub)
	p = AppendRaw(AppendRawString(p, keyPubKey), pem)
	p = msgp.AppendInt(AppendRawString(p, "publish_port"), 4505)
	p = AppendRaw(AppendRawString(p, "aes"), make([]byte, 256))
	return AppendRaw(AppendRawString(p, keySig), make([]byte, 256))
}

// signed is that as later protocols have it: {enc: clear, load: raw, sig}.
func signed(load []byte) []byte {
	p := msgp.AppendMapHeader(nil, 3)
	p = appendKeyed(p, keyEnc, EncClear)
	p = AppendRaw(AppendRawString(p, keyLoad), load)
	return AppendRaw(AppendRawString(p, keySig), make([]byte, 256))
}

func TestMasterKey(t *testing.T) {
	pending := appendKeyed(msgp.AppendMapHeader(nil, 1), "ret", "x")
	pillar := AppendRaw(AppendRawString(AppendRaw(AppendRawString(msgp.AppendMapHeader(nil, 2), "key"), make([]byte, 256)), "pillar"), make([]byte, 4000))
	twice := signed(signed(granted()))
	huge := AppendRaw(AppendRawString(msgp.AppendMapHeader(nil, 1), keyPubKey), make([]byte, maxAuthReply))
	for name, test := range map[string]struct {
		reply []byte
		want  []byte
	}{
		"protocol 1":          {granted(), pem},
		"protocol 2 and 3":    {signed(granted()), pem},
		"pending":             {signed(pending), nil},
		"pending, protocol 1": {append(appendKeyed(msgp.AppendMapHeader(nil, 2), keyEnc, EncClear), append(AppendRawString(nil, keyLoad), pending...)...), nil},
		"a pillar":            {pillar, nil},
		"an encrypted reply":  {AppendRaw(nil, granted()), nil},
		"a ping":              {AppendPingReply(nil), nil},
		"deeper":              {twice, nil},
		"nothing":             {nil, nil},
		"an empty map":        {[]byte{0x80}, nil},
		"too large":           {huge, nil},
		"a key that is a map": {append(AppendRawString(msgp.AppendMapHeader(nil, 1), keyPubKey), 0x80), nil},
		"a load that is none": {signed([]byte{0xc1}), nil},
		"many keys":           {msgp.AppendMapHeader(nil, 1<<31), nil},
	} {
		if got := MasterKey(test.reply); !bytes.Equal(got, test.want) {
			t.Errorf("%s: %q", name, got)
		}
	}
	for n := range signed(granted()) {
		if got := MasterKey(signed(granted())[:n]); got != nil {
			t.Errorf("the first %d bytes have a key: %q", n, got)
		}
	}
	whole := signed(granted())
	if n := testing.AllocsPerRun(100, func() { MasterKey(whole) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What Salt 3006.0 has answered to three minions: the key is in each reply to an _auth that was granted and in no other, and
// a restart of the master does not change it.
func TestMasterKeyRecorded(t *testing.T) {
	for name, grants := range map[string]int{"plain": 3, "filtering": 3, "restart": 6} {
		f, err := os.Open("../../test/interop/testdata/recordings/" + name + ".ret.jsonl.gz")
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		unzipped, err := gzip.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		keys := map[string]int{}
		for lines := json.NewDecoder(unzipped); lines.More(); {
			var r recorded
			if err := lines.Decode(&r); err != nil {
				t.Fatal(err)
			}
			body := r.body()
			key := MasterKey(body)
			if has := r.Dir == "down" && bytes.Contains(body, []byte("pub_key")); has != (key != nil) {
				t.Errorf("%s: the key is there: %v, found: %q", name, has, key)
			}
			if key != nil {
				keys[string(key)]++
			}
		}
		if len(keys) != 1 {
			t.Errorf("%s: %d keys", name, len(keys))
		}
		for key, n := range keys {
			if !strings.HasPrefix(key, "-----BEGIN PUBLIC KEY-----\n") || n != grants {
				t.Errorf("%s: %d times %q, want %d times", name, n, key, grants)
			}
		}
	}
}

func FuzzMasterKey(f *testing.F) {
	f.Add(granted())
	f.Add(signed(granted()))
	f.Fuzz(func(t *testing.T, reply []byte) {
		if key := MasterKey(reply); key != nil && !bytes.Contains(reply, key) {
			t.Errorf("%q is not in %q", key, reply)
		}
	})
}

func BenchmarkMasterKey(b *testing.B) {
	for name, reply := range map[string][]byte{
		"encrypted": AppendRaw(nil, make([]byte, 400)), "auth": signed(granted()), "file": AppendRaw(nil, make([]byte, 1<<20)),
	} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				MasterKey(reply)
			}
		})
	}
}
