package zmtp_test

import (
	"fmt"

	"salt-broker/internal/zmtp"
)

// minion prints what a minion sends, and gathers what it is answered.
type minion struct{ answer []byte }

func (m *minion) Greeted(v zmtp.Version) error {
	fmt.Println("speaks", v)
	m.answer = zmtp.AppendGreeting(m.answer)
	return nil
}

func (m *minion) Ready(r zmtp.Ready) error {
	if r.SocketType != zmtp.REQ {
		return &zmtp.Fault{Reason: zmtp.ReasonSocketType, Detail: "a " + r.SocketType.String() + " where requests are due"}
	}
	m.answer = zmtp.AppendReady(m.answer, zmtp.ROUTER)
	return nil
}

func (m *minion) Message(msg []byte) error {
	depth, err := zmtp.Envelope(msg)
	if err != nil {
		return err
	}
	fmt.Printf("asks with %d bytes and %d identities\n", len(msg), depth)
	return nil
}

func (m *minion) Command(name, data []byte) error {
	if string(name) != zmtp.CommandPing {
		return nil
	}
	_, context, err := zmtp.ParsePing(data)
	if err != nil {
		return err
	}
	m.answer = zmtp.AppendPong(m.answer, context)
	return nil
}

func ExampleStream() {
	// What comes, from the network in whatever pieces.
	in := zmtp.AppendGreeting(nil)
	in = zmtp.AppendReady(in, zmtp.REQ)
	in = zmtp.AppendFrame(in, true, nil)
	in = zmtp.AppendPing(in, 0, []byte("ping")) // libzmq does this in the middle of messages
	in = zmtp.AppendFrame(in, false, []byte("hello"))
	in = append(in, "and rubbish"...)

	var s zmtp.Stream
	var m minion
	limits := &zmtp.Limits{MaxMessage: 1 << 20, MaxFrames: 16, MaxCommand: 4 << 10}
	for len(in) > 0 {
		n := min(20, len(in))
		if err := s.Feed(in[:n], limits, &m); err != nil {
			fmt.Println(err)
			break
		}
		in = in[n:]
	}
	fmt.Printf("%d bytes to send\n", len(m.answer))

	// Output:
	// speaks 3.1
	// asks with 9 bytes and 0 identities
	// malformed frame: reserved flags are set: 0x61
	// 118 bytes to send
}
