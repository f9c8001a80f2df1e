//go:build linux

package main

import (
	"cmp"
	"math"
	"slices"
)

// median is the middle one, or what lies halfway between the two in the middle; NaN of none.
func median(values []float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// quantile is the smallest of the values that at least this share of them does not exceed; zero of none.
func quantile[T cmp.Ordered](values []T, share float64) T {
	if len(values) == 0 {
		var zero T
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(share * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// ratio is how salt-broker compares to another: the median of the ratios of the rounds in which both have a figure. What
// is in one round was near each other in time, so what disturbed the machine disturbed both.
func ratio(rounds []Round, to, key string) (float64, bool) {
	all := ratios(rounds, to, key)
	return median(all), len(all) > 0
}

// ratios is those of the rounds, the least first.
func ratios(rounds []Round, to, key string) (all []float64) {
	theirs := map[int]float64{}
	for _, r := range rounds {
		if v, ok := r.Values[key]; ok && r.Relay == to && v > 0 {
			theirs[r.Round] = v
		}
	}
	for _, r := range rounds {
		if v, ok := r.Values[key]; ok && r.Relay == ours && theirs[r.Round] > 0 {
			all = append(all, v/theirs[r.Round])
		}
	}
	slices.Sort(all)
	return all
}

// figure is the median of what a relay has reached in all rounds.
func figure(rounds []Round, relay, key string) (float64, bool) {
	var values []float64
	for _, r := range rounds {
		if v, ok := r.Values[key]; ok && r.Relay == relay {
			values = append(values, v)
		}
	}
	return median(values), len(values) > 0
}
