package config

import (
	"reflect"
	"testing"
)

// A list is kept as text that means the same when it is taken apart, and when a file has it, in quotes or not.
func TestMasters(t *testing.T) {
	path := func(host, at string) Path { return Path{host, at + ":4505", at + ":4506"} }
	for _, test := range []struct {
		text, kept string
		want       []Master
	}{
		{"salt", "salt", []Master{{"salt", []Path{path("salt", "salt")}}}},
		{"[salt]", "salt", []Master{{"salt", []Path{path("salt", "salt")}}}},
		{"[a, b.example:4516]", "[a, b.example:4516]", []Master{
			{"a", []Path{path("a", "a")}}, {"b.example:4516", []Path{{"b.example", "b.example:4505", "b.example:4516"}}},
		}},
		{"['::1', '2001:db8::', '[2001:db8::1]:7', 'fe80::1%eth0']", "['::1', '2001:db8::', '[2001:db8::1]:7', 'fe80::1%eth0']", []Master{
			{"::1", []Path{path("::1", "[::1]")}},
			{"2001:db8::", []Path{path("2001:db8::", "[2001:db8::]")}},
			{"[2001:db8::1]:7", []Path{{"2001:db8::1", "[2001:db8::1]:4505", "[2001:db8::1]:7"}}},
			{"fe80::1%eth0", []Path{path("fe80::1%eth0", "[fe80::1%eth0]")}},
		}},
		{"['no', 'null', '1e3', '0x1f', '010.a']", "[no, null, 1e3, 0x1f, 010.a]", []Master{
			{"no", []Path{path("no", "no")}},
			{"null", []Path{path("null", "null")}},
			{"1e3", []Path{path("1e3", "1e3")}},
			{"0x1f", []Path{path("0x1f", "0x1f")}},
			{"010.a", []Path{path("010.a", "010.a")}},
		}},
		{"[{name: '-x:', paths: [a, 'b:1', '::1']}, {name: c, paths: c}]", "[{name: '-x:', paths: [a, b:1, '::1']}, c]", []Master{
			{"-x:", []Path{path("a", "a"), {"b", "b:4505", "b:1"}, path("::1", "[::1]")}}, {"c", []Path{path("c", "c")}},
		}},
		{"[{paths: [a, b]}]", "[{name: a, paths: [a, b]}]", []Master{{"a", []Path{path("a", "a"), path("b", "b")}}}},
	} {
		t.Run(test.text, func(t *testing.T) {
			for form, value := range map[string]any{"YAML": yamlOf(t, test.text), "text": test.text, "kept": test.kept} {
				c := Default()
				if v := mastersAt(&c.Master); !v.set(value) || !v.ok() || c.Master != test.kept {
					t.Errorf("%s: %q %s, want %q", form, c.Master, v.want(), test.kept)
				}
				if is := c.Masters(); !reflect.DeepEqual(is, test.want) {
					t.Errorf("%s: %v\nwant %v", form, is, test.want)
				}
			}
		})
	}
}

// yamlOf is what a file with text at `master` says.
func yamlOf(t *testing.T, text string) any {
	t.Helper()
	all, faults := parse("", []byte("master: "+text))
	if faults != nil {
		t.Fatal(faults)
	}
	return unwrapped(all[0]).value
}
