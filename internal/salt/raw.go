package salt

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/tinylib/msgp/msgp"
)

// The lead bytes of msgpack's old raw, which later became str.
const (
	leadRaw16 = 0xda
	leadRaw32 = 0xdb

	shortRawMax = 31 // bytes, with the length in the lead byte
)

// maxDepth is how deep maps and arrays may lie in each other. Salt's wrapper has two levels, the load of _auth a third
// for autosign_grains.
const maxDepth = 8

var (
	errDepth    = errors.New("msgpack: maps and arrays too deep in each other")
	errNotBytes = errors.New("msgpack: neither a string nor bytes")
)

// AppendRaw appends p as the raw of msgpack before version 5, the only form that every release of Salt reads. What p has
// beyond 4 GiB cannot be said in it and is left out.
func AppendRaw(dst, p []byte) []byte {
	return append(AppendRawHeader(dst, len(p)), p[:min(len(p), math.MaxUint32)]...)
}

// AppendRawString is AppendRaw for a string.
func AppendRawString(dst []byte, s string) []byte {
	return append(AppendRawHeader(dst, len(s)), s[:min(len(s), math.MaxUint32)]...)
}

// AppendRawHeader appends what stands before a raw of size bytes, up to 4 GiB - 1, which the caller appends.
func AppendRawHeader(dst []byte, size int) []byte {
	switch {
	case size <= shortRawMax:
		return append(dst, 0xa0|byte(size))
	case size <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(dst, leadRaw16), uint16(size))
	default:
		return binary.BigEndian.AppendUint32(append(dst, leadRaw32), uint32(min(size, math.MaxUint32)))
	}
}

// CutRaw reads the string or the bytes at the beginning of p, whichever form they have, and returns what follows. Both
// alias p.
func CutRaw(p []byte) (raw, rest []byte, err error) {
	switch msgp.NextType(p) {
	case msgp.StrType:
		return msgp.ReadStringZC(p)
	case msgp.BinType:
		return msgp.ReadBytesZC(p)
	case msgp.InvalidType:
		if len(p) == 0 {
			return nil, nil, msgp.ErrShortBytes
		}
	default:
	}
	return nil, nil, errNotBytes
}

// cutValue returns the first value of p as it is encoded, and what follows it. Memory and time follow the bytes that are
// there, not the counts that are declared.
func cutValue(p []byte) (value, rest []byte, err error) {
	rest, err = skip(p, maxDepth)
	if err != nil {
		return nil, nil, err
	}
	return p[:len(p)-len(rest)], rest, nil
}

func skip(p []byte, depth int) (rest []byte, err error) {
	var count uint64
	switch msgp.NextType(p) {
	case msgp.MapType:
		var n uint32
		n, rest, err = msgp.ReadMapHeaderBytes(p)
		count = 2 * uint64(n)
	case msgp.ArrayType:
		var n uint32
		n, rest, err = msgp.ReadArrayHeaderBytes(p)
		count = uint64(n)
	default:
		return msgp.Skip(p) // not nested
	}
	switch {
	case err != nil:
		return nil, err
	case depth == 0:
		return nil, errDepth
	case count > uint64(len(rest)): // each takes a byte at least
		return nil, msgp.ErrShortBytes
	}
	for range count {
		if rest, err = skip(rest, depth-1); err != nil {
			return nil, err
		}
	}
	return rest, nil
}
