package salt

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/tinylib/msgp/msgp"
)

// appendAuth appends a minion's _auth: a load in the clear.
func appendAuth(dst []byte, command, id string, version int) []byte {
	dst = appendKeyed(msgp.AppendMapHeader(dst, 3), keyEnc, EncClear)
	dst = msgp.AppendMapHeader(AppendRawString(dst, keyLoad), 3)
	dst = appendKeyed(dst, keyCmd, command)
	dst = AppendRaw(AppendRawString(dst, "pub"), []byte("-----BEGIN"))
	dst = appendKeyed(dst, keyID, id)
	return msgp.AppendInt(AppendRawString(dst, keyVersion), version)
}

// A minion has one id for its _auth and for what follows, or none for both.
func TestMinionID(t *testing.T) {
	tests := map[string]struct {
		request []byte
		want    string
	}{
		"aes, version 3":         {AppendRequest(nil, []byte("load"), 3, []byte("m1")), "m1"},
		"aes, version 4":         {AppendRequest(nil, []byte("load"), 4, []byte("m1")), "m1"},
		"aes, version 2":         {AppendRequest(nil, []byte("load"), 2, []byte("m1")), ""},
		"aes without an id":      {AppendRequest(nil, []byte("load"), 3, nil), ""},
		"aes, a map for a load":  {AppendRequest(nil, appendAuth(nil, "_auth", "m1", 3), 3, nil), ""},
		"_auth, version 3":       {appendAuth(nil, "_auth", "m1", 3), "m1"},
		"_auth, version 2":       {appendAuth(nil, "_auth", "m1", 2), ""},
		"ping":                   {AppendPing(nil), ""},
		"another clear command":  {appendAuth(nil, "publish", "m1", 3), ""},
		"cut short":              {appendAuth(nil, "_auth", "m1", 3)[:60], ""},
		"nothing":                {nil, ""},
		"no request":             {[]byte("bad load"), ""},
		"an id that is a number": {idIsANumber(), ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if got := string(MinionID(test.request)); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

// Where the load of a request goes on elsewhere, the id is found behind it, and nothing else is taken for one.
func TestMinionIDInPieces(t *testing.T) {
	large := AppendRequest(nil, make([]byte, 70_000), 3, []byte("m1"))
	short := AppendRequest(nil, make([]byte, 60_000), 3, []byte("m1"))
	binary := msgp.AppendBytes(AppendRawString(appendKeyed(msgp.AppendMapHeader(nil, 4), keyEnc, EncAES), keyLoad), make([]byte, 70_000))
	binary = appendKeyed(msgp.AppendInt(AppendRawString(binary, keyVersion), 3), keyID, "m1")
	before := appendKeyed(appendKeyed(msgp.AppendMapHeader(nil, 4), keyID, "m1"), keyEnc, EncAES)
	before = AppendRaw(AppendRawString(msgp.AppendInt(AppendRawString(before, keyVersion), 3), keyLoad), make([]byte, 70_000))
	many := appendKeyed(large[:len(large):len(large)], "more", "m2")
	for name, test := range map[string]struct {
		request []byte
		want    string
	}{
		"a raw32":                    {large, "m1"},
		"a raw16":                    {short, "m1"},
		"a bin32":                    {binary, "m1"},
		"the id stands before":       {before, "m1"},
		"more than the map has":      {many, ""},
		"without an end":             {large[:69_000], ""},
		"without an id":              {AppendRequest(nil, make([]byte, 70_000), 3, nil), ""},
		"much behind the load":       {append(bytes.Clone(large[:len(large)-6]), make([]byte, 4000)...), ""},
		"a load that is not a raw":   {appendAuth(nil, "_auth", strings.Repeat("m", 50_000), 3), ""},
		"no map":                     {AppendRaw(nil, make([]byte, 70_000)), ""},
		"the key is what is so long": {AppendRaw(msgp.AppendMapHeader(nil, 1), make([]byte, 70_000)), ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, size := range []int{20_000, 30_000, 33_333} {
				pieces := slices.Collect(slices.Chunk(test.request, size))
				if got := string(MinionID(pieces[0], pieces[1:]...)); got != test.want {
					t.Errorf("in %d pieces %q, want %q", len(pieces), got, test.want)
				}
			}
		})
	}
}

func idIsANumber() []byte {
	p := appendKeyed(msgp.AppendMapHeader(nil, 3), keyEnc, EncClear)
	p = appendKeyed(msgp.AppendMapHeader(AppendRawString(p, keyLoad), 2), keyCmd, "_auth")
	p = msgp.AppendInt(AppendRawString(p, keyID), 7)
	return msgp.AppendInt(AppendRawString(p, keyVersion), 3)
}

func TestMinionIDDoesNotAllocate(t *testing.T) {
	for _, request := range [][]byte{appendAuth(nil, "_auth", "m1", 3), AppendRequest(nil, []byte("load"), 3, []byte("m1"))} {
		if n := testing.AllocsPerRun(100, func() { _ = MinionID(request) }); n > 0 {
			t.Errorf("%v allocations", n)
		}
	}
}
