//go:build linux

package sim

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"salt-broker/internal/zmtp"
)

// rawMaster is a ROUTER that sends these bodies as replies to the first request of each connection, a PING before every
// one and all of it byte by byte.
func rawMaster(t *testing.T, bodies [][]byte) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var serving sync.WaitGroup
	t.Cleanup(func() { _ = ln.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(patience))
				send := hello(zmtp.Version{}, zmtp.ROUTER, nil)
				if _, err := c.Write(send); err != nil {
					return
				}
				// The request is what ends with its filler; all that matters is that one has come.
				if _, err := io.ReadFull(c, make([]byte, len(hello(zmtp.Version{}, zmtp.REQ, nil))+DefaultRequestBytes)); err != nil {
					return
				}
				for _, body := range bodies {
					msg := zmtp.AppendPing(nil, 0, []byte("hello"))
					msg = append(msg, delimiter...)
					msg = zmtp.AppendPing(msg, 0, nil)
					msg = zmtp.AppendFrame(msg, false, body)
					for _, b := range msg {
						if _, err := c.Write([]byte{b}); err != nil {
							return
						}
					}
				}
				_, _ = io.Copy(io.Discard, c)
			})
		}
	})
	return ln.Addr().(*net.TCPAddr).AddrPort()
}
