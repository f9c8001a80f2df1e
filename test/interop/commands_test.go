package interop_test

import (
	"testing"

	"salt-broker/internal/zmtp"
)

// TestLibzmqPassesOverOurCommands: what brokers say to each other harms nobody who does not know it, though nobody is told
// who has not said that he does. RFC 37 leaves open what a peer makes of a command that it does not know.
func TestLibzmqPassesOverOurCommands(t *testing.T) {
	t.Parallel()
	for _, as := range []zmtp.SocketType{zmtp.REQ, zmtp.DEALER} {
		t.Run(as.String(), func(t *testing.T) {
			master := startProcess(t)
			address := local(master.listen("router", "ROUTER", 0, nil))
			w := dial(t, address, as, 1)
			name := filler("a routing frame", 16)
			var frame []byte
			for _, command := range []string{zmtp.CommandBroker, zmtp.CommandForget, zmtp.CommandForgot} {
				frame = zmtp.AppendCommand(frame, command, name)
			}
			frame = append(frame, zmtp.AppendFrame([]byte{zmtp.FlagMore, 0}, false, []byte("a request"))...)
			frame = append(zmtp.AppendCommand(frame, zmtp.CommandForget, name), zmtp.AppendPing(nil, 0, []byte("still here"))...)
			if _, err := w.nc.Write(frame); err != nil {
				t.Fatal(err)
			}
			got := master.recvRaw("router")
			if len(got) != 3 || string(got[2]) != "a request" {
				t.Fatalf("the ROUTER got %q", got)
			}
			master.send("router", got[0], nil, []byte("a reply"))
			if reply := w.recv(t); len(reply) != 2 || string(reply[1]) != "a reply" {
				t.Errorf("the reply is %q", reply)
			}
			eventually(t, "a PONG", func() bool { w.has(t); return len(w.commands) > 0 && w.commands[0] == zmtp.CommandPong })
		})
	}
}
