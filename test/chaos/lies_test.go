package chaos_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"salt-broker/internal/zmtp"
)

// lies is how many there are.
const lies = 9

// lie returns what somebody says to the broker who is not who he seems to be, then is silent. None of it is a message that
// the broker might pass on to anyone.
func lie(wire, n int) []byte {
	peer := [wires]zmtp.SocketType{zmtp.SUB, zmtp.REQ, zmtp.PUB, zmtp.ROUTER}[wire]
	greeted := zmtp.AppendGreeting(nil)
	ready := zmtp.AppendReady(bytes.Clone(greeted), peer)
	switch n {
	case 0:
		return []byte("HTTP/1.1 400 Bad Request\r\n\r\n")
	case 1:
		return greeted[:11] // and the rest never comes
	case 2:
		return zmtp.AppendReady(greeted, zmtp.PAIR)
	case 3:
		return ready // a peer that has died in silence
	case 4: // eight exabytes are to follow: memory must not be taken for them
		return append(binary.BigEndian.AppendUint64(append(ready, zmtp.FlagLong), 1<<63-1), "some"...)
	case 5:
		return binary.BigEndian.AppendUint64(append(ready, zmtp.FlagLong|zmtp.FlagCommand), 1<<40)
	case 6:
		return append(ready, 0xf8, 0xff)
	case 7:
		return zmtp.AppendError(ready, "no")
	default:
		if wire == masterRequest { // a reply to nobody: the routing frame is none of the broker's
			ready = zmtp.AppendFrame(ready, true, []byte("sixteen bytes 16"))
			return zmtp.AppendFrame(zmtp.AppendFrame(ready, true, nil), false, []byte("reply"))
		}
		return append(ready, zmtp.FlagMore|zmtp.FlagCommand, 0)
	}
}

func TestLiesDiffer(t *testing.T) {
	for w := range wires {
		seen := map[string]bool{}
		for n := range lies {
			seen[string(lie(w, n))] = true
		}
		if len(seen) != lies {
			t.Errorf("wire %d: %d lies, want %d", w, len(seen), lies)
		}
	}
}
