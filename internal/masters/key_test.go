package masters

import (
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// What Salt's pem_finger says of this key: sha256 of the lines between the first and the last.
func TestFingerprint(t *testing.T) {
	const want = "fa:97:98:d3:d5:77:bf:e8:b1:9e:cd:5b:02:26:1f:48:2c:8d:56:0f:17:88:94:8c:55:42:0a:77:65:fa:9c:1c"
	for _, pem := range []string{
		"-----BEGIN PUBLIC KEY-----\nMIIB\nIjAN\n-----END PUBLIC KEY-----",
		"-----BEGIN PUBLIC KEY-----\nMIIB\nIjAN\n-----END PUBLIC KEY-----\n\n",
	} {
		if got := fingerprint([]byte(pem)); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	for _, odd := range []string{"", "x", "\n", "x\n"} {
		if got := fingerprint([]byte(odd)); strings.Count(got, ":") != 31 {
			t.Errorf("%q: %s", odd, got)
		}
	}
}

func TestKeySeen(t *testing.T) {
	pem := func(of string) []byte { return []byte("-\n" + of + "\n-\n") }
	inWorld(t, failover("a", "b"), nil, func(w *world) {
		w.KeySeen("a:4506", pem("one"))
		w.KeySeen("a:4506", pem("one"))
		w.KeySeen("b:4506", pem("two")) // it does not serve: an answer of before
		w.says(logrus.WarnLevel, "public key", 0)
		w.become(refuses, "a")
		w.Nudge(false)
		w.after(time.Second, "b")
		w.KeySeen("a:4506", pem("one"))
		w.KeySeen("b:4506", pem("two"))
		w.KeySeen("b:4506", pem("two"))
		w.says(logrus.WarnLevel, "public key", 1)
		e := w.hook.LastEntry()
		if e.Data["master"] != "b:4506" || e.Data["master_before"] != "a:4506" || e.Data["key"] != fingerprint(pem("two")) || e.Data["key_before"] != fingerprint(pem("one")) {
			t.Errorf("%v", e.Data)
		}
		w.KeySeen("b:4506", pem("three")) // somebody has made new keys there
		w.says(logrus.WarnLevel, "public key", 2)
		if s := w.State(); s.Masters[0].Key != fingerprint(pem("one")) || s.Masters[1].Key != fingerprint(pem("three")) {
			t.Errorf("%+v", s)
		}
	})
}
