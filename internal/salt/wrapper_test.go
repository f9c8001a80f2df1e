package salt

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

// What Salt has written is read, and written again byte by byte where we write such things.
func TestRecorded(t *testing.T) {
	again := 0
	for i, r := range recordings(t) {
		t.Run(fmt.Sprintf("%d_%s_%s_%s", i, r.Channel, r.Dir, r.field("enc")), func(t *testing.T) {
			body := r.body()
			w, err := ParseWrapper(body)
			if r.field("enc") == "" { // the reply to an aes request
				if err == nil {
					t.Fatalf("%+v", w)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if w.Enc != r.field("enc") {
				t.Errorf("enc %q, want %q", w.Enc, r.field("enc"))
			}
			var written []byte
			switch {
			case r.Channel == "publish":
				if len(w.Sig) != 256 || w.LoadIsMap || w.Version != 0 {
					t.Errorf("sig of %d bytes, %+v", len(w.Sig), w)
				}
				written = AppendPublish(nil, w.Load, w.Sig)
			case w.Enc == EncAES:
				if w.Version != 2 || w.ID != nil || w.Sig != nil || w.Command() != "" {
					t.Errorf("%+v", w)
				}
				written = AppendRequest(nil, w.Load, int(w.Version), nil)
			case r.Dir == "up":
				if w.Command() != "_auth" || !w.LoadIsMap {
					t.Errorf("cmd %q", w.Command())
				}
				return
			default:
				if w.LoadIsMap || w.Sig == nil {
					t.Errorf("load is a map: %t, sig of %d bytes", w.LoadIsMap, len(w.Sig))
				}
				return
			}
			if again++; !bytes.Equal(written, body) {
				t.Errorf("written again:\n%x\nrecorded:\n%x", written, body)
			}
		})
	}
	if again < 6 {
		t.Errorf("%d messages were written again", again)
	}
}

func TestRequestWithID(t *testing.T) {
	load := bytes.Repeat([]byte{0xff}, 40)
	w, err := ParseWrapper(AppendRequest([]byte("before"), load, 3, []byte("m1"))[len("before"):])
	if err != nil || !bytes.Equal(w.Load, load) || w.Version != 3 || string(w.ID) != "m1" {
		t.Fatalf("%+v, %v", w, err)
	}
}

func TestPing(t *testing.T) {
	w, err := ParseWrapper(AppendPing(nil))
	if err != nil || w.Enc != EncClear || w.Command() != CommandPing || w.Version != 3 {
		t.Fatalf("%+v, %v", w, err)
	}
	if got, want := AppendPing(nil), unhex(t, "83 a3656e63 a5636c656172 a46c6f6164 81 a3636d64 a470696e67 a776657273696f6e 03"); !bytes.Equal(got, want) {
		t.Errorf("%x, want %x", got, want)
	}
	tests := map[string]struct {
		reply []byte
		want  bool
	}{
		"as written":       {AppendPingReply(nil), true},
		"with str 8":       {unhex(t, "81 d903636d64 d90470696e67"), true},
		"with bin":         {unhex(t, "81 c403636d64 c40470696e67"), true},
		"more keys":        {unhex(t, "82 a178 93010203 a3636d64 a470696e67"), true},
		"cluster_retry":    {append(AppendRawString(msgp.AppendMapHeader(nil, 1), "cluster_retry"), 0xc3), false},
		"another command":  {unhex(t, "81 a3636d64 a470696e66"), false},
		"an empty map":     {unhex(t, "80"), false},
		"bad load":         {AppendRawString(nil, "bad load"), false},
		"nothing":          {nil, false},
		"cut":              {AppendPingReply(nil)[:6], false},
		"something after":  {append(AppendPingReply(nil), 0), false},
		"a number for cmd": {unhex(t, "81 a3636d64 05"), false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := IsPingReply(test.reply); got != test.want {
				t.Errorf("%x: %t", test.reply, got)
			}
		})
	}
}

func TestRaw(t *testing.T) {
	// Old raw knows no length in one byte: 32 bytes take two.
	for size, header := range map[int]string{
		0: "a0", 1: "a1", 31: "bf", 32: "da0020", 255: "da00ff", 256: "da0100", 65535: "daffff", 65536: "db00010000",
	} {
		raw := bytes.Repeat([]byte{0xfe}, size)
		p := AppendRaw(nil, raw)
		if got := hex.EncodeToString(p[:len(p)-size]); got != header {
			t.Errorf("%d bytes: header %s, want %s", size, got, header)
		}
		if s := AppendRawString(nil, string(raw)); !bytes.Equal(s, p) {
			t.Errorf("%d bytes: a string has another header", size)
		}
		got, rest, err := CutRaw(append(p, 7))
		if err != nil || !bytes.Equal(got, raw) || !bytes.Equal(rest, []byte{7}) {
			t.Errorf("%d bytes: %d bytes and %x, %v", size, len(got), rest, err)
		}
		got, _, err = CutRaw(msgp.AppendBytes(nil, raw))
		if err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%d bytes of bin: %d bytes, %v", size, len(got), err)
		}
	}
	for _, p := range []string{"", "01", "c0", "c1", "80", "90", "a1", "da00", "da0001", "db000000", "c4", "c401", "d7ff0000000000000000"} {
		if raw, _, err := CutRaw(unhex(t, p)); err == nil {
			t.Errorf("%s: %x", p, raw)
		}
	}
}

func TestParseWrapperRefuses(t *testing.T) {
	whole := AppendRequest(nil, []byte("load"), 3, []byte("m1"))
	for n := range whole {
		if w, err := ParseWrapper(whole[:n]); err == nil {
			t.Errorf("the first %d bytes: %+v", n, w)
		}
	}
	tests := map[string]struct{ bytes, err string }{
		"nothing":        {"", "not a map"},
		"text":           {"a9 62616420 6c6f616400", "not a map"},
		"HTTP":           {"474554202f20", "not a map"},
		"no enc":         {"81 a46c6f6164 a178", "no enc"},
		"no load":        {"81 a3656e63 a3616573", "no load"},
		"unknown enc":    {"82 a3656e63 a3666f6f a46c6f6164 a178", "enc is neither"},
		"enc a number":   {"82 a3656e63 05 a46c6f6164 a178", "enc: msgpack"},
		"load a number":  {"82 a3656e63 a3616573 a46c6f6164 05", "load: msgpack"},
		"key a number":   {"81 05 05", "neither a string"},
		"enc twice":      {"83 a3656e63 a3616573 a3656e63 a3616573 a46c6f6164 a178", "twice"},
		"more follows":   {"82 a3656e63 a3616573 a46c6f6164 a178 00", "follows"},
		"2^32-1 keys":    {"df ffffffff a3656e63 a3616573", "more than"},
		"2^32-1 values":  {"82 a3656e63 a3616573 a46c6f6164 ddffffffff 01", "too few"},
		"4 GiB of load":  {"82 a3656e63 a3616573 a46c6f6164 dbffffffff 01", "too few"},
		"an endless one": {"81 a178 " + strings.Repeat("91", 100_000) + "01", "too deep"},
		"version a text": {"83 a3656e63 a3616573 a46c6f6164 a178 a776657273696f6e a133", "version"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseWrapper(unhex(t, test.bytes))
			if err == nil || !strings.Contains(err.Error(), test.err) {
				t.Errorf("%v, want %q", err, test.err)
			}
		})
	}
}

func TestWrapperDoesNotAllocate(t *testing.T) {
	request := AppendRequest(nil, make([]byte, 200), 3, []byte("m1"))
	var dst []byte
	got := testing.AllocsPerRun(100, func() {
		w, err := ParseWrapper(request)
		if err != nil {
			t.Fatal(err)
		}
		dst = AppendRequest(dst[:0], w.Load, int(w.Version), w.ID)
	})
	if got > 0 {
		t.Errorf("%v allocations", got)
	}
}

// FuzzWrapper: whatever is accepted lies in the input, means the same when it is written in our form, and nothing panics.
func FuzzWrapper(f *testing.F) {
	for _, r := range recordings(f) {
		f.Add(r.body())
	}
	f.Add(AppendPing(nil))
	f.Add(AppendPingReply(nil))
	f.Add(AppendRequest(nil, []byte("load"), 3, []byte("m1")))
	f.Fuzz(func(t *testing.T, p []byte) {
		before := bytes.Clone(p)
		w, err := ParseWrapper(p)
		_ = IsPingReply(p)
		_ = w.Command()
		if !bytes.Contains(p, MinionID(p)) {
			t.Fatalf("the id %q is not in the input", MinionID(p))
		}
		for at := range len(p) { // in two pieces
			if id := MinionID(p[:at], p[at:]); !bytes.Contains(p, id) {
				t.Fatalf("cut at %d, the id %q is not in the input", at, id)
			}
		}
		if !bytes.Equal(p, before) {
			t.Fatal("the input was changed")
		}
		if err != nil {
			if w.Enc != "" || w.Load != nil {
				t.Fatalf("%+v with %v", w, err)
			}
			return
		}
		if !bytes.Contains(p, w.Load) || !bytes.Contains(p, w.ID) || !bytes.Contains(p, w.Sig) {
			t.Fatalf("%+v is not in the input", w)
		}
		if w.LoadIsMap {
			return
		}
		again, err := ParseWrapper(AppendRequest(nil, w.Load, int(w.Version), w.ID))
		if err != nil || !bytes.Equal(again.Load, w.Load) || !bytes.Equal(again.ID, w.ID) || again.Version != w.Version {
			t.Fatalf("%+v became %+v, %v", w, again, err)
		}
		publish, err := ParseWrapper(AppendPublish(nil, w.Load, w.Sig))
		if err != nil || !bytes.Equal(publish.Load, w.Load) || !bytes.Equal(publish.Sig, w.Sig) {
			t.Fatalf("%+v became %+v, %v", w, publish, err)
		}
	})
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	p, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}
