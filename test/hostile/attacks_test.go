package hostile

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"salt-broker/internal/sim"
	"salt-broker/internal/zmtp"
)

func TestNeverFinishTheHandshake(t *testing.T) {
	const each = 100
	besiege(t, func(s *siege) {
		within := handshakeTimeout + soon
		all(2*each, func(i int) {
			for to, says := range s.ports() {
				if i%2 == 0 {
					to = s.broker.publish
				}
				switch i % 4 {
				case 0:
					s.ends("silence", to, within)
				case 1:
					s.ends("half a greeting", to, within, says[:i%zmtp.GreetingSize])
				case 2:
					s.ends("half a READY", to, within, says[:len(says)-1-i%20])
				case 3:
					s.slowly(to, says, within)
				}
				return
			}
		})
		s.named("handshake_timeout", "did not finish the handshake in time")
		for range 20 {
			for to := range s.ports() {
				s.stays(s.connect(to))
			}
		}
	})
}

// slowly sends a byte now and then, which does not help.
func (s *siege) slowly(to netip.AddrPort, says []byte, within time.Duration) {
	nc := s.connect(to)
	if nc == nil {
		return
	}
	defer func() { _ = nc.Close() }()
	tick := time.NewTicker(2 * handshakeTimeout / time.Duration(len(says)))
	defer tick.Stop()
	deadline := time.Now().Add(within)
	for i := range says {
		<-tick.C
		if _, err := nc.Write(says[i : i+1]); err != nil {
			return
		}
		if time.Now().After(deadline) {
			break
		}
	}
	s.Errorf("a slow handshake: not closed within %v", within)
}

func TestSpeakSomethingElse(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	besiege(t, func(s *siege) {
		for to := range s.ports() {
			for what, says := range map[string]string{
				"HTTP": "GET / HTTP/1.1\r\nHost: salt\r\n\r\n",
				"TLS":  "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
				"SSH":  "SSH-2.0-OpenSSH_9.6\r\n",
			} {
				s.ends(what, to, soon, []byte(says))
				s.named("not_zmtp", "the peer speaks "+what)
			}
			for range 200 {
				noise := make([]byte, 1<<10)
				_, _ = random.Read(noise) // never fails
				s.ends("random bytes", to, soon, noise)
				greeted := append(bytes.Clone(s.ports()[to]), noise...)
				greeted[len(s.ports()[to])] |= 0xf8 // flags that do not exist
				s.ends("random bytes after the handshake", to, soon, greeted)
			}
		}
		s.named("bad_frame")
	})
}

func TestDeclareLargeMessages(t *testing.T) {
	const each = 1500
	besiege(t, func(s *siege) {
		for to, says := range s.ports() {
			declared := uint64(256 << 20)
			if to == s.broker.publish {
				declared = 4000
			}
			says = append(says, 2, 0, 0, 0, 0, 0, 0, 0, 0)
			binary.BigEndian.PutUint64(says[len(says)-8:], declared)
			for i := range each {
				nc := s.connect(to)
				if nc == nil {
					return
				}
				if _, err := nc.Write(says); err != nil {
					s.Errorf("handshake: %v", err)
				}
				if i%3 > 0 {
					s.stays(nc) // and sends nothing more
					continue
				}
				s.work.Go(func() { // a byte now and then, as life that takes for ever
					defer func() { _ = nc.Close() }()
					tick := time.NewTicker(300 * time.Millisecond)
					defer tick.Stop()
					for i := range 10 {
						if _, err := nc.Write([]byte{byte(i)}); err != nil {
							s.Errorf("a slow sender was closed: %v", err)
							return
						}
						select {
						case <-tick.C:
						case <-s.over:
							return
						}
					}
				})
			}
		}
		s.named("heartbeat_timeout") // of those who send nothing more
		close(s.over)
	})
}

func TestMillionsOfFrames(t *testing.T) {
	besiege(t, func(s *siege) {
		frames := bytes.Repeat([]byte{1, 0}, 1e6)
		for to, says := range s.ports() {
			all(4, func(int) { s.ends("a message of a million empty frames", to, soon, says, frames) })
		}
		s.named("too_many_frames", "8192")
		s.named("too_many_frames", "of more than 1 frames")

		// As many as pass: a request that a REP socket would take apart, and a thousand of them.
		frames = append(bytes.Repeat([]byte{1, 0}, 1000), 0, 0)
		all(2, func(int) {
			nc := s.shake(s.broker.request, hello(zmtp.DEALER))
			if nc == nil {
				return
			}
			defer func() { _ = nc.Close() }()
			for range 500 {
				if _, err := nc.Write(frames); err != nil {
					s.Errorf("many frames: %v", err)
					return
				}
			}
		})
	})
}

func TestMillionsOfSubscriptions(t *testing.T) {
	besiege(t, func(s *siege) {
		var topics, flapping []byte
		for i := range maxSubscriptions + 1 {
			topics = zmtp.AppendSubscribe(topics, fmt.Appendf(nil, "%040x", i*7919))
		}
		s.ends("a subscription too many", s.broker.publish, patience, hello(zmtp.SUB), topics)
		s.named("too_many_subscriptions", "max_subscriptions")

		repeated := bytes.Repeat(zmtp.AppendSubscribe(nil, []byte("again")), 1e6)
		for i := range 200000 {
			topic := fmt.Appendf(nil, "topic-%d", i%10)
			flapping = zmtp.AppendSubscription(zmtp.AppendSubscription(flapping, topic, false), topic, true)
		}
		for what, says := range map[string][]byte{"a million times the same": repeated, "to and fro": flapping} {
			nc := s.shake(s.broker.publish, hello(zmtp.SUB))
			if nc == nil {
				return
			}
			_ = nc.SetDeadline(time.Now().Add(patience))
			if _, err := nc.Write(says); err != nil {
				s.Errorf("%s: %v", what, err)
			}
			s.lives(what, nc)
			_ = nc.Close()
		}
	})
}

func TestTopicsOfMegabytes(t *testing.T) {
	topic := make([]byte, 8<<20)
	besiege(t, func(s *siege) {
		for to, says := range s.ports() {
			s.ends("a topic of megabytes", to, soon, says, zmtp.AppendSubscribe(nil, topic))
		}
		s.named("command_too_large", "of 8388618 bytes")
		s.ends("a topic of megabytes as a message", s.broker.publish, soon, hello(zmtp.XSUB), zmtp.AppendSubscription(nil, topic, false))
		s.named("message_too_large", "of 8388609 bytes")
		nc := s.shake(s.broker.publish, hello(zmtp.SUB))
		if nc == nil {
			return
		}
		s.stays(nc)
		for i := range 1500 { // the longest that are allowed
			_ = nc.SetDeadline(time.Now().Add(patience))
			if _, err := nc.Write(zmtp.AppendSubscribe(nil, append(fmt.Appendf(nil, "%06d", i), topic[:4000]...))); err != nil {
				s.Errorf("long topics: %v", err)
				return
			}
		}
		s.lives("long topics", nc)
	})
}

func TestComeAndGo(t *testing.T) {
	besiege(t, func(s *siege) {
		deadline := time.Now().Add(time.Second)
		all(6, func(i int) {
			for n := 0; n < 10000 && time.Now().Before(deadline); n++ {
				for to, says := range s.ports() {
					nc := s.connect(to)
					if nc == nil {
						return
					}
					switch (i + n) % 3 {
					case 0: // closes without a word, as Salt's minions do too
					case 1:
						_ = nc.SetLinger(0) // resets
					case 2:
						_, _ = nc.Write(says)
					}
					_ = nc.Close()
				}
			}
		})
		if n := len(s.ours); n < 100 {
			s.Errorf("only %d came", n)
		} else {
			s.Logf("%d came and went", n)
		}
	})
}

// TestClaimIdentitiesOfOthers and answer to what was theirs: nothing comes.
func TestClaimIdentitiesOfOthers(t *testing.T) {
	besiege(t, func(s *siege) {
		all(healthy, func(i int) {
			for to, says := range s.ports() {
				id := sim.MinionID(i)
				says = bytes.Replace(says, []byte("\x08Identity\x00\x00\x00\x00"), nil, 1)
				says = append(says, "\x08Identity\x00\x00\x00"+string(rune(len(id)))+id...)
				says[zmtp.GreetingSize+1] = byte(len(says) - zmtp.GreetingSize - 2) // of the READY
				nc := s.shake(to, says)
				if nc == nil {
					return
				}
				if to == s.broker.request {
					for range 20 {
						if _, err := nc.Write(request); err != nil {
							s.Errorf("%s: %v", id, err)
						}
					}
				}
				s.lives("who claims to be "+id, nc)
				s.stays(nc)
			}
		})
	})
}

// TestNeverRead is about what others send to who does not read it.
func TestNeverRead(t *testing.T) {
	pings := bytes.Repeat(zmtp.AppendPing(nil, 0, []byte("0123456789abcdef")), 2000)
	requests := bytes.Repeat(request, 10000)
	besiege(t, func(s *siege) {
		flood := func(what string, to netip.AddrPort, part []byte) {
			nc := s.connect(to)
			if nc == nil {
				return
			}
			defer func() { _ = nc.Close() }()
			_ = nc.SetReadBuffer(4 << 10)
			_ = nc.SetDeadline(time.Now().Add(patience))
			says := append(bytes.Clone(s.ports()[to]), part...)
			for range 1000 {
				if _, err := nc.Write(says); err != nil {
					if ne, ok := err.(interface{ Timeout() bool }); ok && ne.Timeout() {
						s.Errorf("%s: neither read nor closed within %v", what, patience)
					}
					return // closed
				}
				says = part
			}
			s.Errorf("%s: all was taken", what)
		}
		all(6, func(i int) {
			switch i / 2 {
			case 0:
				flood("PINGs for publishes", s.broker.publish, pings)
			case 1:
				flood("PINGs for requests", s.broker.request, pings)
			case 2: // how soon its replies fill all buffers depends on the machine
				nc := s.connect(s.broker.request)
				if nc == nil {
					return
				}
				s.stays(nc)
				_ = nc.SetDeadline(time.Now().Add(2 * time.Second))
				_, err := nc.Write(hello(zmtp.DEALER))
				for n := 0; err == nil && n < 100; n++ {
					_, err = nc.Write(requests)
				}
			}
		})
		s.named("does_not_read")
		s.named("heartbeat_timeout")
	})
}

// TestFloodOfSmallRequests is from peers that have more in a moment than the master answers, as small as they can be.
func TestFloodOfSmallRequests(t *testing.T) {
	const peers = 100
	requests := bytes.Repeat(request, 20000)
	besiege(t, func(s *siege) {
		all(peers, func(int) {
			nc := s.shake(s.broker.request, hello(zmtp.DEALER))
			if nc == nil {
				return
			}
			s.stays(nc)
			if _, err := nc.Write(requests); err != nil {
				s.Errorf("a flood: %v", err)
			}
		})
	})
}

// TestFillAllBuffers is from peers that send most of a large message and go on slowly, as an upload over a bad link does.
func TestFillAllBuffers(t *testing.T) {
	const peers, size = 24, 8 << 20
	most := zmtp.AppendHeader(zmtp.AppendFrame(nil, true, nil), zmtp.FlagLong, size)
	most = append(most, make([]byte, size*3/4)...)
	besiege(t, func(s *siege) {
		all(peers, func(int) {
			nc := s.shake(s.broker.request, hello(zmtp.REQ))
			if nc == nil {
				return
			}
			s.stays(nc)
			_ = nc.SetWriteDeadline(time.Now().Add(4 * time.Second))
			_, err := nc.Write(most)
			for range 10 { // whoever is not read from, or was closed, stops here
				if err != nil {
					return
				}
				_, err = nc.Write([]byte("x"))
				<-s.after(100 * time.Millisecond)
			}
		})
		until(s.T, "a line about full buffers", func() bool { return len(s.broker.said("max_buffered_bytes")) > 0 })
	}, "max_message_size: 16 MiB", "max_buffered_bytes: 32 MiB")
}
