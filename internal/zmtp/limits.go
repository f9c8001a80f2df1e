package zmtp

// Limits says how much a [Stream] takes from a peer. They are taken as they are: a zero lets nothing pass. One Limits
// serves any number of streams, as long as its Buffers may be used from where those are fed.
type Limits struct {
	// MaxMessage is the size of a message in bytes, all frames together, headers included.
	MaxMessage int64
	// MaxFrames is how many frames a message may have.
	MaxFrames int
	// MaxCommand is the size of a command's body in bytes, READY included. A subscription may come as a command, so this
	// bounds topics too. A READY of libzmq has some 50 bytes.
	MaxCommand int
	// Buffers holds what is half read. Nil makes buffers and leaves them to the garbage collector.
	Buffers Buffers
	// Pieces says that a message may come in several: if it has more than one frame and the last one is large, that goes on
	// in [Stream.Rest]. So nothing of it is copied when more comes, and no large memory has to be found.
	Pieces bool
}

// Buffers lends the memory for what is half read. A [Stream] has at most one buffer, and the pieces of a large message if
// Limits.Pieces says so; none while nothing is half read.
type Buffers interface {
	// Get returns a buffer of length 0 with room for at least n bytes.
	Get(n int) []byte
	// Put takes a buffer back, at any length, when nothing refers to it any more.
	Put(b []byte)
}

func (l *Limits) get(n int) []byte {
	if l.Buffers == nil {
		return make([]byte, 0, n)
	}
	return l.Buffers.Get(n)
}

func (l *Limits) put(b []byte) {
	if l.Buffers != nil && b != nil {
		l.Buffers.Put(b)
	}
}
