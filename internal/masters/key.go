package masters

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/sirupsen/logrus"
)

// fingerprint is that of a public key in PEM, as `salt-key -F master` shows it: SHA-256 of its lines but the first and
// the last (Salt: salt.utils.crypt.pem_finger).
func fingerprint(pem []byte) string {
	var lines [][]byte
	for line := range bytes.Lines(pem) {
		if len(bytes.TrimSpace(line)) > 0 {
			lines = append(lines, line)
		}
	}
	if len(lines) >= 2 {
		lines = lines[1 : len(lines)-1]
	}
	sum := sha256.Sum256(bytes.Join(lines, nil))
	pairs := make([]string, len(sum))
	for i, b := range sum {
		pairs[i] = fmt.Sprintf("%02x", b)
	}
	return strings.Join(pairs, ":")
}

// keys are the public keys of masters, as far as replies to _auth have carried them past.
type keys struct {
	of   map[string]string // fingerprints by the name of the master
	last string            // of the one that minions talk to
	from string            // its address
}

// KeySeen is told of a public key, in PEM, that the master at this address (of its request port) has shown to a minion.
// It is safe from any goroutine. It takes hundreds of nanoseconds and a lock, so who calls it for every reply should
// see first whether the key is the same as the last time.
//
// Minions refuse a master with another key than the one they know, unless that is signed (master_sign_pubkey), so
// another key than the one before is said loudly: once for each change.
func (w *Watch) KeySeen(address string, pem []byte) {
	finger := fingerprint(pem)
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.options.Masters, func(m Master) bool {
		return slices.ContainsFunc(m.Paths, func(p Path) bool { return p.Request == address })
	})
	if i < 0 || !w.serves(i) {
		return // the reply was on its way when another master began to serve
	}
	m := w.options.Masters[i]
	if w.options.Cluster && w.keys.of[m.Name] == finger { // another one may have been the last
		return
	}
	if w.keys.of == nil {
		w.keys.of = map[string]string{}
	}
	w.keys.of[m.Name] = finger
	before, from := w.keys.last, w.keys.from
	w.keys.last, w.keys.from = finger, address
	if before != "" && before != finger {
		w.log.WithFields(logrus.Fields{"master": address, "key": finger, "master_before": from, "key_before": before}).Warn(
			"the master has another public key than the one before: minions that know that one refuse this master")
	}
}
