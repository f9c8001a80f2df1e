//go:build linux

package sim

import (
	"crypto/sha1" //nolint:gosec // Salt names topics with it
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"time"

	"salt-broker/internal/salt"
)

// Broadcast is the topic that all minions have beside their own when zmq_filtering is on.
const Broadcast = "broadcast"

// Sizes as they were seen between Salt 3006's master and minions, in bytes.
const (
	DefaultJobBytes     = 440 // payload of a publish
	DefaultRequestBytes = 234 // body of a small _return
	DefaultReplyBytes   = 99  // body of the reply to it
)

// MinionID is the id of a stand-in minion.
func MinionID(minion int) string { return fmt.Sprintf("minion-%05d", minion) }

// Topic is what Salt's master publishes to for a single minion when zmq_filtering is on: sha1 of the id, in hex.
func Topic(id string) string {
	sum := sha1.Sum([]byte(id)) //nolint:gosec // Salt's choice; it is a name, nothing is protected by it
	return hex.EncodeToString(sum[:])
}

// Job is what a publish of the stand-in master says.
type Job struct {
	// Master is MasterOptions.ID: numbers below are its own.
	Master uint32
	// Order counts all publishes of a master, from 1.
	Order uint64
	// Serial counts the publishes of a series, from 1: whoever listens to a series sees no gaps.
	Serial uint64
	// Series is 0 for what goes to everyone, else a number made of the topic.
	Series uint64
	// Sent is when the master published it, by the clock of the machine.
	Sent time.Time
}

// Layouts of what stands for cipher text, all numbers with the most significant byte first. Behind it follows filler. The
// checksum is over all other bytes, and over the signature of a publish.
const (
	jobMagic   = 0x6a6f6201 // magic, master, order, serial, series, sent, checksum
	jobSum     = 40
	jobHead    = 44
	askMagic   = 0x61736b01 // magic, minion, nonce, size of the reply, checksum
	askSum     = 20
	askHead    = 24
	replyMagic = 0x72657001 // magic, minion, nonce, checksum
	replySum   = 16
	replyHead  = 20

	sigBytes = 256 // of a publish: RSA with 2048 bits

	// What the map around it takes; up to two bytes less when lengths are short.
	publishOverhead = 24 + sigBytes
	requestOverhead = 26 + 3 + 13 // and id
	replyOverhead   = 3
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli) // in hardware
	filler     = makeFiller()
)

// makeFiller makes bytes that do not compress and are the same in every process.
func makeFiller() []byte {
	b := make([]byte, 64<<10)
	_, _ = rand.NewChaCha8([32]byte{'s', 'i', 'm'}).Read(b) // never fails
	return b
}

// appendFiller appends n bytes, others for another seed.
func appendFiller(dst []byte, n int, seed uint64) []byte {
	at := int(seed * 1031 % uint64(len(filler)))
	for n > 0 {
		m := min(n, len(filler)-at)
		dst = append(dst, filler[at:at+m]...)
		n -= m
		at = 0
	}
	return dst
}

// checksum is over head but for the four bytes at sum, and over tail.
func checksum(head []byte, sum int, tail []byte) uint32 {
	crc := crc32.Update(0, castagnoli, head[:sum])
	crc = crc32.Update(crc, castagnoli, head[sum+4:])
	return crc32.Update(crc, castagnoli, tail)
}

// seriesOf is the series of the publishes with a topic: nil and [Broadcast] are for everyone.
func seriesOf(topic []byte) uint64 {
	if len(topic) == 0 || string(topic) == Broadcast {
		return 0
	}
	h := uint64(14695981039346656037) // FNV-1a, 64 bits
	for _, c := range topic {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return max(h, 1)
}

var (
	errDamaged = errors.New("not as it was sent")
	errNotJob  = errors.New("a publish that the stand-in master did not make")
)

// AppendJob appends the payload of a publish that says j, of about size bytes: {enc: aes, load, sig}.
func AppendJob(dst []byte, j Job, size int) []byte {
	loadBytes := max(size-publishOverhead, jobHead)
	load := make([]byte, 0, loadBytes+sigBytes)
	load = binary.BigEndian.AppendUint32(load, jobMagic)
	load = binary.BigEndian.AppendUint32(load, j.Master)
	load = binary.BigEndian.AppendUint64(load, j.Order)
	load = binary.BigEndian.AppendUint64(load, j.Serial)
	load = binary.BigEndian.AppendUint64(load, j.Series)
	load = binary.BigEndian.AppendUint64(load, uint64(j.Sent.UnixNano()))
	load = append(load, 0, 0, 0, 0)
	load = appendFiller(load, loadBytes-jobHead, j.Order)
	both := appendFiller(load, sigBytes, j.Order+7)
	sig := both[len(load):]
	binary.BigEndian.PutUint32(load[jobSum:], checksum(load, jobSum, sig))
	return salt.AppendPublish(dst, load, sig)
}

// ParseJob reads the payload of a publish and fails unless every byte of it is as the stand-in master sent it.
func ParseJob(payload []byte) (Job, error) {
	w, err := salt.ParseWrapper(payload)
	if err != nil {
		return Job{}, err
	}
	if w.Enc != salt.EncAES || len(w.Load) < jobHead || binary.BigEndian.Uint32(w.Load) != jobMagic {
		return Job{}, errNotJob
	}
	if checksum(w.Load, jobSum, w.Sig) != binary.BigEndian.Uint32(w.Load[jobSum:]) {
		return Job{}, errDamaged
	}
	return Job{
		Master: binary.BigEndian.Uint32(w.Load[4:]),
		Order:  binary.BigEndian.Uint64(w.Load[8:]),
		Serial: binary.BigEndian.Uint64(w.Load[16:]),
		Series: binary.BigEndian.Uint64(w.Load[24:]),
		Sent:   time.Unix(0, int64(binary.BigEndian.Uint64(w.Load[32:]))),
	}, nil
}

// Question is what a request of a stand-in minion says.
type Question struct {
	Minion     uint32
	Nonce      uint64 // tells its requests apart
	ReplyBytes uint32 // size of the body that the minion wants back
}

// AppendRequest appends the body of a request, of about size bytes: {enc: aes, load, version, id}. Scratch is overwritten.
func AppendRequest(dst []byte, q Question, size int, id []byte, scratch *[]byte) []byte {
	loadBytes := max(size-requestOverhead, askHead)
	load := (*scratch)[:0]
	load = binary.BigEndian.AppendUint32(load, askMagic)
	load = binary.BigEndian.AppendUint32(load, q.Minion)
	load = binary.BigEndian.AppendUint64(load, q.Nonce)
	load = binary.BigEndian.AppendUint32(load, q.ReplyBytes)
	load = append(load, 0, 0, 0, 0)
	load = appendFiller(load, loadBytes-askHead, q.Nonce)
	binary.BigEndian.PutUint32(load[askSum:], checksum(load, askSum, nil))
	*scratch = load
	return salt.AppendRequest(dst, load, 3, id)
}

func parseRequest(body []byte) (Question, error) {
	w, err := salt.ParseWrapper(body)
	if err != nil {
		return Question{}, err
	}
	if w.Enc != salt.EncAES || len(w.Load) < askHead || binary.BigEndian.Uint32(w.Load) != askMagic ||
		checksum(w.Load, askSum, nil) != binary.BigEndian.Uint32(w.Load[askSum:]) {
		return Question{}, errDamaged
	}
	return Question{
		Minion:     binary.BigEndian.Uint32(w.Load[4:]),
		Nonce:      binary.BigEndian.Uint64(w.Load[8:]),
		ReplyBytes: binary.BigEndian.Uint32(w.Load[16:]),
	}, nil
}

// appendAnswer appends the body of the reply to a request: one raw, of about the size that was asked for.
func appendAnswer(dst []byte, q Question) []byte {
	size := max(int(q.ReplyBytes)-replyOverhead, replyHead)
	// The header of the raw comes first and depends on the size alone.
	dst = salt.AppendRawHeader(dst, size)
	at := len(dst)
	dst = binary.BigEndian.AppendUint32(dst, replyMagic)
	dst = binary.BigEndian.AppendUint32(dst, q.Minion)
	dst = binary.BigEndian.AppendUint64(dst, q.Nonce)
	dst = append(dst, 0, 0, 0, 0)
	dst = appendFiller(dst, size-replyHead, q.Nonce+13)
	binary.BigEndian.PutUint32(dst[at+replySum:], checksum(dst[at:], replySum, nil))
	return dst
}

// ParseAnswer returns whose reply it is, and to which request, and fails unless every byte of it is as the stand-in master
// sent it.
func ParseAnswer(body []byte) (minion uint32, nonce uint64, err error) {
	raw, rest, err := salt.CutRaw(body)
	if err != nil {
		return 0, 0, err
	}
	if len(rest) > 0 || len(raw) < replyHead || binary.BigEndian.Uint32(raw) != replyMagic ||
		checksum(raw, replySum, nil) != binary.BigEndian.Uint32(raw[replySum:]) {
		return 0, 0, errDamaged
	}
	return binary.BigEndian.Uint32(raw[4:]), binary.BigEndian.Uint64(raw[8:]), nil
}

// Answer appends what the stand-in master answers to the body of a request: what the minion expects, {cmd: ping} to a
// ping, and "bad load", as Salt's master, to anything else; then it is not good.
func Answer(dst, body []byte) (reply []byte, good bool) {
	if q, err := parseRequest(body); err == nil {
		return appendAnswer(dst, q), true
	}
	if w, err := salt.ParseWrapper(body); err == nil && w.Command() == salt.CommandPing {
		return salt.AppendPingReply(dst), true
	}
	return salt.AppendRawString(dst, "bad load"), false
}
