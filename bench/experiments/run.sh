#!/bin/sh
# What the kernel offers, measured: docs/decisions/ says what came of it. `make experiments` calls this.
#   run.sh [NAME...]        all of them without a name; TURNS=9 in the environment is how many rounds
set -eu
cd "$(dirname "$0")"
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
uname -srm
grep -m1 'model name' /proc/cpuinfo || true
for name in ${*:-fanout echo accept coalesce}; do
	cc -O2 -Wall -Wextra -pthread -o "$out/$name" "$name.c"
	"$out/$name"
done
