# What a contributor types. Everything here works in a fresh clone; Go fetches what it needs.
#
#   make test     the whole test: vet, lint, unit tests under the race detector, real processes as peers
#   make check    the same, with nothing skipped: what .ci/run calls
#   make race     unit tests alone
#
# A test that needs a tool which is not installed skips, unless SALT_BROKER_REQUIRE_TOOLS=1 makes that a failure.

SHELL       := bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS   += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := build

GO       ?= go
FUZZTIME ?= 30s
CHAOSTIME ?= 5m
BENCH    ?= .
COUNT    ?= 1

# What `salt-broker version` says: the tag, and how far the tree is from it.
VERSION ?= $(shell pkg/version)
COMMIT  ?= $(shell git rev-parse HEAD 2>/dev/null || echo unknown)

# What test/ holds starts real processes and is run by `make interop`, once; the rest are unit tests.
UNIT = $$($(GO) list ./... | grep -v '^salt-broker/test/')
# Of them those to which the number of processors means nothing, as they test programs that they start, or pure functions.
ONCE = ./cmd/salt-broker ./bench/... ./internal/demo . ./config ./internal/latency ./internal/merge ./internal/salt ./internal/zmtp

.PHONY: build
build: ## the daemon, without cgo
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '-X main.version=$(VERSION) -X main.commit=$(COMMIT)' -o bin/salt-broker ./cmd/salt-broker

.PHONY: test
test: vet lint race allocs interop ## everything

.PHONY: check
check: export SALT_BROKER_REQUIRE_TOOLS = 1
check: test demo ## everything, and a missing tool is a failure

.PHONY: vet
vet:
	$(GO) vet ./...

# The race detector needs cgo and a C compiler; the product itself needs neither. -cpu repeats a test with one and with
# four processors: a loop that shares its only thread meets other orders than one that has its own. GORACE: each process
# would wait for a second at its end, for goroutines that may yet race; goleak has seen that there are none.
.PHONY: race
race: export CGO_ENABLED = 1
race: export GORACE = atexit_sleep_ms=10
race: ## unit tests, race detector, shuffled, with one and with four processors
	$(GO) test -race -shuffle=on -cpu=1,4 -timeout=180s $$(grep -vxF "$$($(GO) list $(ONCE))" <(printf '%s\n' $(UNIT)))
	$(GO) test -race -shuffle=on -cpu=4 -timeout=180s $(ONCE)

# The race detector allocates, so what must not allocate is tested without it.
.PHONY: allocs
allocs: ## no allocation on the hot paths
	$(GO) test -count=1 -run=Alloc $(UNIT)

.PHONY: demo
demo: ## a stand-in master and minions through a real broker
	$(GO) run ./cmd/salt-broker demo

# The longest begins first, and the others run beside it: go test takes packages in the order of its arguments.
.PHONY: interop
interop: bin/nfpm ## real processes as peers: libzmq, and Salt where it is installed
	$(GO) test -count=1 -shuffle=on -timeout=180s ./test/service ./test/...

# Part of `make interop` as well.
.PHONY: service
service: bin/nfpm ## the packages under a real systemd, as root: test/service/README.rst
	SALT_BROKER_REQUIRE_TOOLS=1 $(GO) test -v -count=1 -timeout=180s ./test/service

# The short form of it is part of `make interop`.
.PHONY: outage
outage: ## the long form of test/outage: 5,000 minions while the master is away, 200 that never read; half an hour
	SALT_BROKER_OUTAGE=long $(GO) test -v -count=1 -timeout=40m ./test/outage
	$(GO) test -tags=long -v -count=1 -run=TestOrderExperiment ./retproxy
	$(GO) test -tags=long -v -count=1 -run=TestHeartbeatsCostLittle ./test/footprint

# Part of `make interop` as well, for some seconds. PAGETIME=0s is enough but for the picture in docs.
PAGETIME ?= 4m
.PHONY: page
page: ## the page of the status port in Chromium, under load for PAGETIME; leaves docs/status-page.png
	SALT_BROKER_REQUIRE_TOOLS=1 SALT_BROKER_ARTIFACTS=$(CURDIR)/bin/page SALT_BROKER_PAGE_TIME=$(PAGETIME) \
	  $(GO) test -v -count=1 -timeout=20m ./test/page
	cp bin/page/status-page.png docs/status-page.png

.PHONY: chaos
chaos: ## a bad network around both proxies for CHAOSTIME, fresh seeds; says each
	SALT_BROKER_CHAOS_TIME=$(CHAOSTIME) CGO_ENABLED=1 $(GO) test -race -tags=long -count=1 -v -timeout=0 -run=FreshSeeds ./test/chaos

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME each
	@grep -rlE --include='*_test.go' '^func Fuzz' . | xargs -r -n1 dirname | sort -u | while read -r dir; do \
	  for target in $$(sed -nE 's/^func (Fuzz[A-Za-z0-9_]*)\(.*/\1/p' "$$dir"/*_test.go); do \
	    echo "== $$dir $$target"; \
	    $(GO) test -run='^$$' -fuzz="^$$target$$" -fuzztime=$(FUZZTIME) "$$dir"; \
	  done; \
	done

.PHONY: bench
bench: ## benchmarks: BENCH is a pattern, COUNT how often each
	$(GO) test -run='^$$' -bench='$(BENCH)' -benchmem -count=$(COUNT) ./...

# BASE is a commit; BENCH, ROUNDS and BENCHTIME are for bench/compare, which says what they are.
.PHONY: bench-compare
bench-compare: bin/benchstat ## benchmarks of the commit BASE and of this tree in turn, and benchstat's table: BASE=main BENCH=FanOut
	BENCH='$(BENCH)' ROUNDS='$(if $(filter file,$(origin ROUNDS)),10,$(ROUNDS))' bench/compare '$(BASE)'

# Nobody else should work on the machine meanwhile. OUT keeps what was measured; docs/performance.rst says how.
ROUNDS   ?= 5
SCENARIO ?=
PEERS    ?=
OUT      ?=
.PHONY: bench-peers
bench-peers: build ## the same work for salt-broker, libzmq, HAProxy, nginx; SCENARIO=stream PEERS=salt-broker,libzmq ROUNDS=3
	$(GO) run ./bench -rounds=$(ROUNDS) -scenario='$(SCENARIO)' -peers='$(PEERS)' -out='$(OUT)'

# Two and a half minutes. Pairs of brokers need root and keepalived.
.PHONY: bench-ha
bench-ha: build ## what minions notice when masters, paths and brokers fail: docs/high-availability.rst
	$(GO) run ./bench -ha -out='$(OUT)'

.PHONY: experiments
experiments: ## what the kernel offers, measured: docs/decisions/0015-what-the-kernel-offers.rst
	bench/experiments/run.sh

# The linter is a module of its own, so that the product's go.mod stays what the product needs.
bin/golangci-lint: tools/lint/go.mod tools/lint/go.sum
	cd tools/lint && $(GO) build -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: lint
lint: bin/golangci-lint ## golangci-lint and the formatters; .golangci.yml says why each
	bin/golangci-lint run ./...

.PHONY: format
format: bin/golangci-lint ## gofumpt and goimports over everything
	bin/golangci-lint fmt ./...

.PHONY: man
man: ## docs/man/broker.5, from pkg/rpm/broker.example
	$(GO) test -count=1 -run=ManPage ./config -update

# Where packages go.
DIST ?= dist
.PHONY: rpm
rpm: ## dist/: rpm and src.rpm, the same bytes from the same tree; needs the package rpm
	pkg/rpm/build.sh $(DIST)

# Not part of any test: mock fetches the root of each of ROOTS from its distribution. Some minutes a root, and 2 GB of disk.
ROOTS ?= fedora-44-x86_64 rocky-8-x86_64 rocky-9-x86_64 rocky-10-x86_64
.PHONY: mock
mock: rpm ## dist/ROOT/: the src.rpm built for Fedora and RHEL, in a root of each; needs mock; ROOTS=rhel-9-x86_64 for one
	for root in $(ROOTS); do \
	  mock --root="$$root" --resultdir="$(DIST)/$$root" \
	    --rebuild $(DIST)/salt-broker-$(VERSION)-1*.src.rpm; \
	done

# So is benchstat.
bin/benchstat: tools/benchstat/go.mod tools/benchstat/go.sum
	cd tools/benchstat && $(GO) build -o ../../bin/benchstat golang.org/x/perf/cmd/benchstat

# nfpm is a module of its own, as the linter is.
bin/nfpm: tools/nfpm/go.mod tools/nfpm/go.sum
	cd tools/nfpm && $(GO) build -o ../../bin/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm

.PHONY: deb
deb: bin/nfpm ## dist/: a package for Debian, the same bytes from the same tree
	NFPM=bin/nfpm pkg/deb/build.sh $(DIST)

.PHONY: help
help:
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' Makefile | expand -t 20
