package salt

import (
	"errors"
	"fmt"

	"github.com/tinylib/msgp/msgp"
)

// What Salt calls enc: how the load is protected.
const (
	EncClear = "clear" // not at all
	EncAES   = "aes"   // with the key that master and minion share
	EncPub   = "pub"   // with the minion's public key
)

// Keys of the maps.
const (
	keyEnc     = "enc"
	keyLoad    = "load"
	keyVersion = "version"
	keyID      = "id"
	keySig     = "sig"
	keyCmd     = "cmd"
)

// maxKeys is how many keys a wrapper may have. Salt's have up to seven.
const maxKeys = 32

// Wrapper is the map around a request or a publish. The zero value is none.
type Wrapper struct {
	// Enc says how Load is protected: [EncClear], [EncAES] or [EncPub].
	Enc string
	// Load is what is protected: the bytes of a raw, or, if LoadIsMap, a map as msgpack encodes it.
	Load []byte
	// LoadIsMap says that Load is the encoding of a map, as it is in requests in the clear.
	LoadIsMap bool
	// Version is the version of the protocol between minion and master, 2 or 3; 0 where there is none.
	Version int64
	// ID is the minion's id; nil in requests of older releases and in those in the clear.
	ID []byte
	// Sig is the signature of a publish or of the reply to _auth; nil in requests.
	Sig []byte
}

// What is wrong with a wrapper.
var (
	errNoMap   = errors.New("not a map")
	errNoEnc   = errors.New("no enc")
	errNoLoad  = errors.New("no load")
	errKeys    = fmt.Errorf("more than %d keys", maxKeys)
	errTwice   = errors.New("a key comes twice")
	errRest    = errors.New("something follows the map")
	errUnknown = errors.New("enc is neither clear nor aes nor pub")
)

// ParseWrapper reads the one frame of a request after the delimiter, or the payload of a publish. Load, ID and Sig alias p.
// Keys that are not known here are passed over. Whatever is no wrapper is an error, which names what is wrong and none of
// the content; replies to aes requests are none.
func ParseWrapper(p []byte) (Wrapper, error) {
	w, err := parseWrapper(p)
	if err != nil {
		return Wrapper{}, fmt.Errorf("salt: wrapper: %w", err)
	}
	return w, nil
}

func parseWrapper(p []byte) (w Wrapper, err error) {
	if msgp.NextType(p) != msgp.MapType {
		return w, errNoMap
	}
	count, rest, err := msgp.ReadMapHeaderBytes(p)
	if err != nil {
		return w, err
	}
	if count > maxKeys {
		return w, errKeys
	}
	var seen uint8 // which of the keys that are known here
	for range count {
		var key, value []byte
		if key, rest, err = CutRaw(rest); err != nil {
			return w, err
		}
		if value, rest, err = cutValue(rest); err != nil {
			return w, err
		}
		var which uint8
		switch string(key) {
		case keyEnc:
			which = 1 << 0
			w.Enc, err = enc(value)
		case keyLoad:
			which = 1 << 1
			w.LoadIsMap = msgp.NextType(value) == msgp.MapType
			if w.Load = value; !w.LoadIsMap {
				w.Load, _, err = CutRaw(value)
			}
		case keyVersion:
			which = 1 << 2
			w.Version, _, err = msgp.ReadInt64Bytes(value)
		case keyID:
			which = 1 << 3
			w.ID, _, err = CutRaw(value)
		case keySig:
			which = 1 << 4
			w.Sig, _, err = CutRaw(value)
		}
		if err != nil {
			return w, fmt.Errorf("%s: %w", key, err)
		}
		if seen&which != 0 {
			return w, errTwice
		}
		seen |= which
	}
	switch {
	case len(rest) > 0:
		return w, errRest
	case w.Enc == "":
		return w, errNoEnc
	case w.Load == nil:
		return w, errNoLoad
	}
	return w, nil
}

// enc returns a constant, so that the input is not kept alive by a wrapper's Enc.
func enc(value []byte) (string, error) {
	name, _, err := CutRaw(value)
	if err != nil {
		return "", err
	}
	switch string(name) {
	case EncClear:
		return EncClear, nil
	case EncAES:
		return EncAES, nil
	case EncPub:
		return EncPub, nil
	}
	return "", errUnknown
}

// Command returns the cmd of a load in the clear, "" when there is none.
func (w Wrapper) Command() string {
	if w.Enc != EncClear || !w.LoadIsMap {
		return ""
	}
	return command(w.Load)
}

// command returns the cmd of an encoded map, "" when there is none.
func command(p []byte) string { return string(valueOf(p, keyCmd)) }

// valueOf returns the raw that an encoded map has for a key, nil when there is none.
func valueOf(p []byte, key string) []byte {
	if msgp.NextType(p) != msgp.MapType {
		return nil
	}
	count, rest, err := msgp.ReadMapHeaderBytes(p)
	if err != nil {
		return nil
	}
	for range count {
		name, after, err := CutRaw(rest)
		if err != nil {
			return nil
		}
		value, after, err := cutValue(after)
		if err != nil {
			return nil
		}
		if string(name) == key {
			raw, _, err := CutRaw(value)
			if err != nil {
				return nil
			}
			return raw
		}
		rest = after
	}
	return nil
}

// AppendRequest appends an encrypted request of a minion: {enc: aes, load, version}, and id unless it is nil.
func AppendRequest(dst, load []byte, version int, id []byte) []byte {
	keys := uint32(3)
	if id != nil {
		keys++
	}
	dst = msgp.AppendMapHeader(dst, keys)
	dst = appendKeyed(dst, keyEnc, EncAES)
	dst = AppendRaw(AppendRawString(dst, keyLoad), load)
	dst = msgp.AppendInt(AppendRawString(dst, keyVersion), version)
	if id != nil {
		dst = AppendRaw(AppendRawString(dst, keyID), id)
	}
	return dst
}

// AppendPublish appends the payload of a publish: {enc: aes, load, sig}.
func AppendPublish(dst, load, sig []byte) []byte {
	dst = msgp.AppendMapHeader(dst, 3)
	dst = appendKeyed(dst, keyEnc, EncAES)
	dst = AppendRaw(AppendRawString(dst, keyLoad), load)
	return AppendRaw(AppendRawString(dst, keySig), sig)
}

func appendKeyed(dst []byte, key, value string) []byte {
	return AppendRawString(AppendRawString(dst, key), value)
}
