//go:build linux

package main

import "fmt"

// How figures grow with the number of minions and of event loops: the scenarios in more sizes, with salt-broker alone.

// growSizes are the numbers of minions.
var growSizes = []int{100, 300, 1000, 3000, 7000, 15000}

// grown are the figures that are drawn: of a kind of scenario, in these sizes.
var grown = []struct {
	kind, key, title, unit string
	sizes                  []int
}{
	{"stream", "cpu", "CPU a delivery, in a stream", "us", growSizes},
	{"stream", "rate", "deliveries in a stream", "1/s", growSizes},
	{"single-400B", "cpu", "CPU a delivery, a single publish", "us", growSizes},
	{"single-400B", "p50", "until the last minion has it, p50", "ms", growSizes},
	{"requests-400B", "cpu", "CPU a request", "us", growSizes},
	{"requests-400B", "rate", "requests", "1/s", growSizes},
	{"short", "cpu", "CPU a short request", "us", growShort},
	{"rush", "cpu", "CPU a connection, in a rush", "us", growSizes},
}

// growShort are the numbers of short requests at a time: each takes a port of the kernel's for a minute.
var growShort = []int{100, 300, 1000, 3000}

// growSizesOf are the numbers of minions for messages of so many bytes.
func growSizesOf(bytes int) []int {
	if bytes == smallBytes {
		return growSizes
	}
	return nil
}

// growing is the scenarios that growth is measured with, in their order.
func growing() []*scenario {
	var all []*scenario
	seen := map[string]bool{}
	for _, g := range grown {
		for _, n := range g.sizes {
			name := fmt.Sprintf("%s-%d", g.kind, n)
			if s := scenarioNamed(name); s != nil && !seen[name] {
				seen[name] = true
				all = append(all, s)
			}
		}
	}
	return all
}
