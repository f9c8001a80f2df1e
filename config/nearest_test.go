package config

import "testing"

func TestNearest(t *testing.T) {
	for word, want := range map[string]string{
		"publsh_port": "publish_port", "publish-port": "publish_port", "Publish_Port": "publish_port", "ret_prot": "ret_port",
		"masterport": "master_port", "mastre": "master", "heartbeat_interval": "heartbeat_ivl", "zmq_heartbeat_interval": "zmq_heartbeat_ivl", "hash_tpye": "hash_type",
		"tcp_keepalive_interval": "tcp_keepalive_intvl", "": "", "x": "", "completely_different": "",
		"log_levels": "log_level", "max_inflight": "max_in_flight", "reconect_ivl": "reconnect_ivl",
	} {
		if meant := nearest(word, known()); meant != want {
			t.Errorf("%q: %q, want %q", word, meant, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"a", "", 1},
		{"", "ab", 2},
		{"port", "port", 0},
		{"port", "prot", 1},
		{"port", "pot", 1},
		{"pot", "port", 1},
		{"port", "part", 1},
		{"kitten", "sitting", 3},
		{"ca", "abc", 3},
		{"abcdefgh", "ijklmnop", 5},
	} {
		if d := distance(test.a, test.b, 5); d != test.want {
			t.Errorf("%q, %q: %d, want %d", test.a, test.b, d, test.want)
		}
	}
}
