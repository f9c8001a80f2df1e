package zmtp

import (
	"bytes"
	"math"
	"testing"
)

// RFC 23, Formal Grammar and Framing.
func TestParseHeader(t *testing.T) {
	tests := []struct {
		name  string
		bytes string
		want  Header
	}{
		{"short, last", `00 05`, Header{Flags: 0, Size: 5, Len: 2}},
		{"short, more", `01 05`, Header{Flags: FlagMore, Size: 5, Len: 2}},
		{"short, empty", `01 00`, Header{Flags: FlagMore, Size: 0, Len: 2}},
		{"short, largest", `00 ff`, Header{Size: 255, Len: 2}},
		{"short command", `04 29`, Header{Flags: FlagCommand, Size: 41, Len: 2}},
		{"long, last", `02 00 00 00 00 00 00 01 00`, Header{Flags: FlagLong, Size: 256, Len: 9}},
		{"long, more", `03 00 00 00 00 00 10 00 01`, Header{Flags: FlagLong | FlagMore, Size: 1<<20 + 1, Len: 9}},
		{"long command", `06 00 00 00 00 00 00 01 00`, Header{Flags: FlagLong | FlagCommand, Size: 256, Len: 9}},
		{"long for what is short", `02 00 00 00 00 00 00 00 00`, Header{Flags: FlagLong, Size: 0, Len: 9}},
		{"largest", `02 7f ff ff ff ff ff ff ff`, Header{Flags: FlagLong, Size: math.MaxInt64, Len: 9}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := wire(test.bytes)
			for n := range p {
				if _, ok, err := ParseHeader(p[:n]); ok || err != nil {
					t.Fatalf("after %d bytes: %t, %v", n, ok, err)
				}
			}
			for _, tail := range []string{"", "\x00", "body and more"} {
				h, ok, err := ParseHeader(append(bytes.Clone(p), tail...))
				if !ok || err != nil || h != test.want {
					t.Fatalf("got %+v, %t, %v; want %+v", h, ok, err, test.want)
				}
			}
			if test.want.More() != (p[0]&1 != 0) || test.want.Command() != (p[0]&4 != 0) {
				t.Fatalf("More %t, Command %t", test.want.More(), test.want.Command())
			}
		})
	}
}

func TestParseHeaderRefuses(t *testing.T) {
	for flags := range 256 {
		_, _, err := ParseHeader([]byte{byte(flags)})
		switch flags {
		case 0, 1, 2, 3, 4, 6: // message-more, message-last, command-size of the grammar
			if err != nil {
				t.Errorf("flags 0x%02x: %v", flags, err)
			}
		case 5, 7:
			wantFault(t, err, ReasonFrame, "a command that says more frames follow")
		default:
			wantFault(t, err, ReasonFrame, "reserved flags")
		}
	}
	for _, p := range []string{`02 80`, `02 80 00 00 00 00 00 00 00`, `03 ff ff ff ff ff ff ff ff`} {
		_, _, err := ParseHeader(wire(p))
		wantFault(t, err, ReasonFrame, "2^63")
	}
}

func TestAppendFrame(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 256)
	tests := []struct {
		name string
		more bool
		body []byte
		want []byte
	}{
		{"empty", false, nil, wire(`00 00`)},
		{"delimiter", true, nil, wire(`01 00`)},
		{"short", false, []byte("hello"), wire(`00 05 "hello"`)},
		{"short, more", true, []byte("hello"), wire(`01 05 "hello"`)},
		{"largest short", false, long[:255], append(wire(`00 ff`), long[:255]...)},
		{"smallest long", false, long, append(wire(`02 00 00 00 00 00 00 01 00`), long...)},
		{"long, more", true, long, append(wire(`03 00 00 00 00 00 00 01 00`), long...)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wantBytes(t, "frame", AppendFrame([]byte("before"), test.more, test.body), append([]byte("before"), test.want...))
		})
	}
}

func TestAppendHeaderKnowsWhatIsLong(t *testing.T) {
	wantBytes(t, "short", AppendHeader(nil, FlagLong|FlagCommand, 255), wire(`04 ff`))
	wantBytes(t, "long", AppendHeader(nil, FlagMore, 256), wire(`03 00 00 00 00 00 00 01 00`))
	wantBytes(t, "huge", AppendHeader(nil, 0, math.MaxInt64), wire(`02 7f ff ff ff ff ff ff ff`))
}
