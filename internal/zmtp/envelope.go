package zmtp

// Envelope looks at a whole message, as it is on the wire, as a request or a reply (RFC 28): identities of those who are
// to have the reply, none if it came straight from a REQ; the empty delimiter; and at least one frame of data.
//
// It returns how many frames stand before the delimiter. A message without one is a [*Fault]: REP discards it and never
// answers. Of a message in pieces (see [Stream.Rest]) the first is enough.
func Envelope(msg []byte) (depth int, err error) {
	for ; ; depth++ {
		body, rest, err := CutFrame(msg)
		switch {
		case err != nil && !goesOn(msg):
			return 0, err
		case len(rest) == 0:
			return 0, faultf(ReasonEnvelope, "a message of %d frames, none of them empty before the last", depth+1)
		case len(body) == 0:
			return depth, nil
		}
		msg = rest
	}
}

// goesOn says whether p begins a last frame of which some is missing.
func goesOn(p []byte) bool {
	h, ok, err := ParseHeader(p)
	return ok && err == nil && h.Flags&(FlagMore|FlagCommand) == 0 && h.Size > uint64(len(p)-h.Len)
}

// CutFrame splits a message, as it is on the wire, after its first frame: into the body of that frame and the frames that
// follow it. Rest is empty exactly if it was the last one. Both alias msg.
//
// A message that does not consist of whole frames, all but the last with [FlagMore], is a [*Fault]; one that a [Stream]
// has handed out is never.
func CutFrame(msg []byte) (body, rest []byte, err error) {
	h, ok, err := ParseHeader(msg)
	switch {
	case err != nil:
		return nil, nil, err
	case !ok:
		return nil, nil, faultf(ReasonFrame, "a message ends within a header")
	case h.Command():
		return nil, nil, faultf(ReasonFrame, "a command within a message")
	case h.Size > uint64(len(msg)-h.Len):
		return nil, nil, faultf(ReasonFrame, "a message ends within a frame of %d bytes", h.Size)
	}
	end := h.Len + int(h.Size)
	body, rest = msg[h.Len:end], msg[end:]
	if h.More() != (len(rest) > 0) {
		return nil, nil, faultf(ReasonFrame, "flags 0x%02x of a frame and %d bytes after it", h.Flags, len(rest))
	}
	return body, rest, nil
}
