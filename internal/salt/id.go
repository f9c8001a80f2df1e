package salt

import (
	"encoding/binary"

	"github.com/tinylib/msgp/msgp"
)

// versionWithID is the first version of the protocol in which a minion has a session key, and its id in every wrapper.
const versionWithID = 3

// MinionID returns the id of the minion that has made a request, as far as it is to be seen: that of the wrapper, and in
// the _auth by which the session begins, which is in the clear, that of the load. Both are there from version 3 on; nil for
// others and for what is no request. It aliases p.
//
// A large request may go on in rest, which is read only behind what is cut at the end of p.
func MinionID(p []byte, rest ...[]byte) []byte {
	if len(rest) > 0 {
		p = withoutCut(p, rest)
	}
	w, err := parseWrapper(p) // nobody reads the error
	if err != nil || w.Version < versionWithID {
		return nil
	}
	if w.Enc == EncClear && w.LoadIsMap && string(valueOf(w.Load, keyCmd)) == cmdAuth {
		return valueOf(w.Load, keyID)
	}
	return w.ID
}

const cmdAuth = "_auth"

// maxBehindLoad is how many bytes of a wrapper may follow its load to be read: its version and the minion's id.
const maxBehindLoad = 1 << 10

// withoutCut returns the wrapper that begins in p and goes on in rest without the bytes of the raw at whose cut p ends: its
// load. It is nil when there is no such raw, and when too much follows it. The result is a copy.
func withoutCut(p []byte, rest [][]byte) []byte {
	_, at, err := msgp.ReadMapHeaderBytes(p)
	for err == nil {
		if _, at, err = CutRaw(at); err != nil {
			return nil
		}
		missing, cut := missingOf(at)
		if !cut {
			_, at, err = cutValue(at)
			continue
		}
		whole := append([]byte(nil), p[:len(p)-len(at)]...)
		whole = AppendRaw(whole, nil)
		before := len(whole)
		for _, piece := range rest {
			n := min(missing, len(piece))
			missing -= n
			if whole = append(whole, piece[n:]...); len(whole) > before+maxBehindLoad {
				return nil
			}
		}
		return whole
	}
	return nil
}

// missingOf says how many bytes of a raw of 256 bytes or more are missing at the end of p, which begins with it, and
// whether there are any.
func missingOf(p []byte) (n int, cut bool) {
	const leadBin16, leadBin32 = 0xc5, 0xc6
	switch {
	case len(p) >= 3 && (p[0] == leadRaw16 || p[0] == leadBin16):
		n = 3 + int(binary.BigEndian.Uint16(p[1:])) - len(p)
	case len(p) >= 5 && (p[0] == leadRaw32 || p[0] == leadBin32):
		n = 5 + int(binary.BigEndian.Uint32(p[1:])) - len(p)
	}
	return n, n > 0
}
