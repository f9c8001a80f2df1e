//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"salt-broker/internal/zmtp"
)

// publication is what a publish of the bench says about itself. Checking one costs a comparison of memory, so that minions
// are not what holds up a stream: package sim's, which look like Salt's down to the maps, take ten times as long.
//
// Its layout, numbers with the most significant byte first: magic 4, run 4, order 8, sent 8, size 4, filler.
type publication struct {
	run   uint32    // which of the master's runs of publishes it belongs to, from 1
	order uint64    // within the run, from 1
	sent  time.Time // by the clock of the machine
}

const (
	publicationMagic = 0x62656e63
	publicationHead  = 28
)

// filler does not compress and is the same in every process.
var filler = func() []byte {
	b := make([]byte, 256<<10)
	_, _ = rand.NewChaCha8([32]byte{'b', 'e', 'n', 'c', 'h'}).Read(b) // never fails
	return b
}()

// fillerFor is the n bytes that stand in the publication with this order: others for each of its neighbors.
func fillerFor(order uint64, n int) []byte {
	at := int(order%1021) * 64
	return filler[at : at+n]
}

// appendPublication appends the payload of a publish, size bytes.
func appendPublication(dst []byte, p publication, size int) []byte {
	dst = binary.BigEndian.AppendUint32(dst, publicationMagic)
	dst = binary.BigEndian.AppendUint32(dst, p.run)
	dst = binary.BigEndian.AppendUint64(dst, p.order)
	dst = binary.BigEndian.AppendUint64(dst, uint64(p.sent.UnixNano()))
	dst = binary.BigEndian.AppendUint32(dst, uint32(size))
	return append(dst, fillerFor(p.order, size-publicationHead)...)
}

var errDamaged = errors.New("a publish that is not as it was sent")

// parsePublication fails unless every byte is as it was sent.
func parsePublication(b []byte) (p publication, err error) {
	if len(b) < publicationHead || binary.BigEndian.Uint32(b) != publicationMagic ||
		int(binary.BigEndian.Uint32(b[24:])) != len(b) {
		return p, errDamaged
	}
	p = publication{
		run: binary.BigEndian.Uint32(b[4:]), order: binary.BigEndian.Uint64(b[8:]),
		sent: time.Unix(0, int64(binary.BigEndian.Uint64(b[16:]))),
	}
	if !bytes.Equal(b[publicationHead:], fillerFor(p.order, len(b)-publicationHead)) {
		return p, errDamaged
	}
	return p, nil
}

// cutPublish takes a message apart: its topic, nil when it has one frame only, and its payload.
func cutPublish(msg []byte) (topic, payload []byte, err error) {
	payload, rest, err := zmtp.CutFrame(msg)
	if err != nil || len(rest) == 0 {
		return nil, payload, err
	}
	topic = payload
	if payload, rest, err = zmtp.CutFrame(rest); err == nil && len(rest) > 0 {
		err = errDamaged
	}
	return topic, payload, err
}

// topicOf is what a minion with a topic of its own subscribes to: as long as the sha1 that Salt takes.
func topicOf(minion int) []byte {
	return fmt.Appendf(nil, "%08x%032x", minion*2654435761&0xffffffff, minion)
}
