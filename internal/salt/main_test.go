package salt

import (
	"bufio"
	"encoding/json"
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorded is a message of a conversation between Salt 3006.0's master and minions; the keys were thrown away.
type recorded struct {
	Channel string          // request or publish
	Dir     string          // up: from the minion
	Frames  [][]byte        // with the routing id and the delimiter of a request
	What    json.RawMessage // outline
}

func (r recorded) body() []byte { return r.Frames[len(r.Frames)-1] }

// field returns a string of the outline's map, "" when there is none.
func (r recorded) field(name string) string {
	var outline map[string]any
	if json.Unmarshal(r.What, &outline) != nil {
		return ""
	}
	s, _ := outline[name].(string)
	return s
}

func recordings(tb testing.TB) []recorded {
	tb.Helper()
	f, err := os.Open("testdata/recorded.jsonl")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var all []recorded
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r recorded
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			tb.Fatal(err)
		}
		all = append(all, r)
	}
	if len(all) == 0 {
		tb.Fatal("nothing recorded")
	}
	return all
}
