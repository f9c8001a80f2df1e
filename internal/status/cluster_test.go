package status

import (
	"slices"
	"strings"
	"testing"

	"salt-broker/internal/masters"
	"salt-broker/pubproxy"
)

// inACluster makes the masters of a broker the peers of a cluster, of which one publishes.
func inACluster(b *broker, publishes string) {
	b.masters.Cluster, b.masters.Serving, b.masters.Masters[0].Serving = true, "", false
	b.publish.Peers = nil
	for _, name := range []string{"m0", "m1", "m2"} { // the first is left
		b.publish.Peers = append(b.publish.Peers, pubproxy.PeerStats{Name: name, Serves: name == publishes, Linked: true})
	}
}

// Of a cluster that master serves which publishes come from.
func TestPublishesComeFrom(t *testing.T) {
	one, two := healthy(), healthy()
	inACluster(one, "m1")
	inACluster(two, "m2")
	before, after := lookedAt(t, one, 0), lookedAt(t, two, 1)
	if m := before.Masters; !m.Cluster || m.Serving != "m1" || !m.List[0].Serving || m.List[1].Serving {
		t.Errorf("%+v", m)
	}
	if m := after.Masters; m.Serving != "m2" || m.List[0].Serving || !m.List[1].Serving {
		t.Errorf("%+v", m)
	}
	if got := samples(t, two); !slices.Contains(got, `salt_broker_master_serving{master="m2"} 1`) {
		t.Errorf("m2 does not serve:\n%s", strings.Join(got, "\n"))
	}
	if two.masters.Masters[1].Serving {
		t.Error("what the watch knows is changed")
	}
	if got := said(changes(&before, &after)); !slices.Equal(got, []string{"Publishes come from the master m2, and from m1 no more"}) {
		t.Errorf("%q", got)
	}
	none := healthy()
	inACluster(none, "nobody")
	between := lookedAt(t, none, 1)
	if got := append(said(changes(&before, &between)), said(changes(&between, &after))...); len(got) > 0 {
		t.Errorf("between two lives of the channel: %q", got)
	}
}

// A cluster answers as long as one of its peers does, or has not been asked.
func TestHealthOfACluster(t *testing.T) {
	for _, test := range []struct {
		name string
		of   [2]masters.Health
		says string
	}{
		{"one answers", [2]masters.Health{masters.Down, masters.Up}, ""},
		{"one has not been asked", [2]masters.Health{masters.Down, masters.Unknown}, ""},
		{
			"none answers",
			[2]masters.Health{masters.Down, masters.Down},
			"no peer of the cluster answers as it should; m1 has not since 2026-11-21T12:00:00Z: connection refused; m2 has not since ",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := healthy()
			inACluster(b, "m1")
			b.masters.Masters[0].Paths[0].LastError = errTest
			for i, is := range test.of {
				b.masters.Masters[i].Health = is
			}
			v := lookedAt(t, b, 0).Ready
			switch {
			case test.says == "" && !v.OK:
				t.Errorf("%+v", v)
			case test.says != "" && (len(v.Reasons) != 1 || v.Reasons[0].Check != CheckMasters || !strings.HasPrefix(v.Reasons[0].Text, test.says)):
				t.Errorf("%+v, want %q", v, test.says)
			}
		})
	}
}
