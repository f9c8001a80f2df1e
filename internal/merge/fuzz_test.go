package merge

import (
	"testing"
	"time"
)

// FuzzMerge has paths do what nobody would: any bytes in any order, orders that contradict each other, connections that
// begin twice. Nothing goes out twice, everything is accounted for, nothing is held for longer than two holds.
func FuzzMerge(f *testing.F) {
	f.Add([]byte("\x80\x81\x01\x11\x02\x12\xc0\x80\x04\x05\x12\x13\x14"))
	f.Add([]byte("\x80\x81\x82\x01\x02\x12\x11\x21\x22\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const paths, hold = 3, 8 * time.Millisecond
		var (
			now     time.Duration
			seen    = map[byte]bool{}
			since   = map[[2]byte]time.Duration{}
			brought [paths]uint64
			out     = &faithful{t: t, seen: seen, since: since, now: &now, longest: 2 * hold}
			m       = New(paths, hold, out)
		)
		for _, b := range data {
			path := int(b>>4&7) % paths
			switch {
			case b&0xc0 == 0x80:
				m.Begin(path, now)
			case b&0xf0 == 0xc0:
				m.End(path, now)
			case b&0xc0 == 0xc0:
				to := now + time.Duration(b&0x3f)*time.Millisecond
				for at, ok := m.Next(now); ok && at <= to; at, ok = m.Next(now) {
					if at <= now {
						t.Fatalf("it is %v and it waits for %v", now, at)
					}
					now = at
					m.Advance(now)
				}
				now = to
			default:
				brought[path]++
				if key := [2]byte{byte(path), b & 15}; !m.paths[path].has(m.sumOf([]byte{b & 15})) {
					since[key] = now
				}
				m.Deliver(path, []byte{b & 15}, now)
			}
		}
		m.Advance(now + 3*hold)
		for i := range m.paths {
			c := m.Counts(i)
			if m.held != 0 || c.Held != 0 || c.First+c.Repeated+c.Late+c.Unknown != brought[i] {
				t.Fatalf("path %d brought %d, of which %+v became", i, brought[i], c)
			}
		}
	})
}

// faithful is a sink that remembers what has gone out.
type faithful struct {
	t       *testing.T
	seen    map[byte]bool
	since   map[[2]byte]time.Duration
	now     *time.Duration
	longest time.Duration
}

func (s *faithful) Publish(path int, msg []byte) {
	if s.seen[msg[0]] {
		s.t.Fatalf("%d goes out twice", msg[0])
	}
	s.seen[msg[0]] = true
	if held := *s.now - s.since[[2]byte{byte(path), msg[0]}]; held > s.longest {
		s.t.Fatalf("%d was held for %v", msg[0], held)
	}
}

func (s *faithful) Astray(path int) { s.t.Fatalf("path %d is astray after a few", path) }
