package zmtp

import (
	"encoding/binary"
	"math"
)

// The flags of a frame (RFC 23, Framing). All other bits are reserved and must be zero.
const (
	FlagMore    = 0x01 // another frame of the same message follows; not on commands
	FlagLong    = 0x02 // the size has eight bytes, not one
	FlagCommand = 0x04 // the frame is a command, not part of a message
)

// Sizes of a header, in bytes.
const (
	shortHeader   = 2 // flags, size
	longHeader    = 9 // flags, size of 64 bits, most significant byte first
	shortBodyMax  = math.MaxUint8
	reservedFlags = 0xff &^ (FlagMore | FlagLong | FlagCommand)
)

// Header is what stands before the body of a frame.
type Header struct {
	// Size of the body, in bytes, up to 2^63-1. It is what the peer says: compare it before allocating.
	Size uint64
	// Len is the size of the header itself: 2 or 9.
	Len int
	// Flags is a combination of [FlagMore], [FlagLong] and [FlagCommand].
	Flags byte
}

// More says whether another frame of the message follows.
func (h Header) More() bool { return h.Flags&FlagMore != 0 }

// Command says whether the frame is a command.
func (h Header) Command() bool { return h.Flags&FlagCommand != 0 }

// ParseHeader reads the header at the beginning of p. It is not ok, without an error, when p holds too little of it. A
// header that cannot be right is a [*Fault], if need be with its first byte.
//
// A long header with a size that a short one could hold is right: RFC 23 only says what peers should do.
func ParseHeader(p []byte) (h Header, ok bool, err error) {
	if len(p) == 0 {
		return h, false, nil
	}
	flags := p[0]
	if flags&reservedFlags != 0 {
		return h, false, faultf(ReasonFrame, "reserved flags are set: 0x%02x", flags)
	}
	if flags&(FlagCommand|FlagMore) == FlagCommand|FlagMore {
		return h, false, faultf(ReasonFrame, "a command that says more frames follow: flags 0x%02x", flags)
	}
	if flags&FlagLong == 0 {
		if len(p) < shortHeader {
			return h, false, nil
		}
		return Header{Flags: flags, Size: uint64(p[1]), Len: shortHeader}, true, nil
	}
	// The highest bit is known with the second byte; that is early enough for a fault of this kind.
	if len(p) > 1 && p[1]&0x80 != 0 {
		return h, false, faultf(ReasonFrame, "a size of 2^63 bytes or more")
	}
	if len(p) < longHeader {
		return h, false, nil
	}
	return Header{Flags: flags, Size: binary.BigEndian.Uint64(p[1:]), Len: longHeader}, true, nil
}

// AppendHeader appends the header of a frame with a body of size bytes, which must not be negative. It sets or clears
// [FlagLong] in flags as the size wants it.
func AppendHeader(dst []byte, flags byte, size int) []byte {
	if size <= shortBodyMax {
		return append(dst, flags&^FlagLong, byte(size))
	}
	dst = append(dst, flags|FlagLong)
	return binary.BigEndian.AppendUint64(dst, uint64(size))
}

// AppendFrame appends one frame of a message: header and body. More says whether another one follows.
func AppendFrame(dst []byte, more bool, body []byte) []byte {
	var flags byte
	if more {
		flags = FlagMore
	}
	dst = AppendHeader(dst, flags, len(body))
	return append(dst, body...)
}
