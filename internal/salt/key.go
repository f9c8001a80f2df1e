package salt

import "github.com/tinylib/msgp/msgp"

const (
	leadMap   = 0x80 // of a map with up to 15 keys, with their number in it
	leadMap16 = 0xde

	keyPubKey = "pub_key"
	// maxAuthReply is the largest reply to _auth that is looked into, in bytes. Salt's have up to some 4 kB.
	maxAuthReply = 16 << 10
)

// MayHaveKey says whether a reply is a map of a size that those to _auth have. It is for every reply: encrypted ones are no
// maps, so hardly any but those to _auth and _pillar pass.
func MayHaveKey(body []byte) bool {
	return 0 < len(body) && len(body) <= maxAuthReply && (body[0]&0xf0 == leadMap || body[0] == leadMap16)
}

// MasterKey returns the public key of the master, in PEM, that body carries if it is the reply to an _auth that was granted;
// nil otherwise. It aliases body.
//
//	{enc: pub, pub_key, ...}                               to minions of protocol version 1
//	{enc: clear, load: raw of {enc: pub, pub_key, ...}, sig}   to later ones
func MasterKey(body []byte) []byte {
	if !MayHaveKey(body) {
		return nil
	}
	w, key, err := authReply(body)
	if err != nil {
		return nil
	}
	if key == nil && w != nil {
		_, key, err = authReply(w)
	}
	if err != nil {
		return nil
	}
	return key
}

// authReply finds the load and the pub_key of a map; nil where there is none.
func authReply(p []byte) (load, key []byte, err error) {
	count, rest, err := msgp.ReadMapHeaderBytes(p)
	switch {
	case err != nil:
		return nil, nil, err
	case count > maxKeys:
		return nil, nil, errKeys
	}
	for range count {
		var name, value []byte
		if name, rest, err = CutRaw(rest); err != nil {
			return nil, nil, err
		}
		if value, rest, err = cutValue(rest); err != nil {
			return nil, nil, err
		}
		switch string(name) {
		case keyLoad:
			load, _, _ = CutRaw(value) // nil where it is a map: nothing was granted
		case keyPubKey:
			if key, _, err = CutRaw(value); err != nil {
				return nil, nil, err
			}
		}
	}
	return load, key, nil
}
