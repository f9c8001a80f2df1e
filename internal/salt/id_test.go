package salt

import (
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
