# Everything that is done to this project more than once. `make` prints the list.

GO      ?= go
PKG     ?= ./...
export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help

.PHONY: help
help: ## print this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## build the static binary build/understudy
	$(GO) build -trimpath -o build/understudy ./cmd/understudy

.PHONY: run
run: ## start a broker on 127.0.0.1:9092
	$(GO) run ./cmd/understudy server

.PHONY: test
test: ## run the tests that need nothing but Go
	$(GO) test $(PKG)

CONSUL_VERSION ?= v1.20.1
CONSUL         := $(CURDIR)/build/consul/consul-$(CONSUL_VERSION)

.PHONY: consul
consul: $(CONSUL) ## build the consul binary that the cluster tests use, as build/consul/consul
	ln -sfn $(notdir $(CONSUL)) build/consul/consul

# A module of its own, since Consul's dependencies are none of ours.
$(CONSUL):
	mkdir -p build/consul
	cd build/consul && { test -f go.mod || $(GO) mod init consul-build; }
	cd build/consul && $(GO) get github.com/hashicorp/consul@$(CONSUL_VERSION)
	cd build/consul && $(GO) build -trimpath -o $@.new github.com/hashicorp/consul && mv $@.new $@

.PHONY: test-consul
test-consul: $(CONSUL) ## run the tests of what we do in Consul against a real one
	CONSUL_BINARY=$(CONSUL) $(GO) test -tags consul -count=1 -timeout 20m ./integration/consul/...
	CONSUL_BINARY=$(CONSUL) $(GO) test -tags consul -count=1 -timeout 20m -run TestDev ./cmd/understudy/commands

.PHONY: race
race: ## run them with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race -timeout 30m $(PKG)

.PHONY: lint
lint: ## gofmt, go vet and staticcheck
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$unformatted" || { echo "not formatted: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

.PHONY: cross
cross: ## build for the other systems we support
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./...
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./...

.PHONY: fuzz
fuzz: ## fuzz each decoder for FUZZTIME (default 30s)
	@for f in $$(grep -rl --include='*_test.go' 'func Fuzz' .); do \
		for name in $$(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\).*/\1/p' $$f); do \
			$(GO) test -run '^$$' -fuzz "^$$name$$" -fuzztime $${FUZZTIME:-30s} ./$$(dirname $$f) || exit 1; \
		done; \
	done

.PHONY: bench
bench: ## run the Go benchmarks once, with allocations
	$(GO) test -run '^$$' -bench . -benchmem $(PKG)

# The stages that a record passes, as they are and as they were in BASE, in turn.
BENCHSTAT = golang.org/x/perf/cmd/benchstat@v0.0.0-20260908200009-22c9c6c9d4da
BASE     ?= HEAD~1
COUNT    ?= 6
STAGES    = ./messages/batch ./cluster/replica ./cluster/link ./actors/mailbox ./actors/partition ./persistence/log ./persistence/flush ./kafka
BENCHES  ?= Append|Parcel|Alone|GroupCommit|Three|Replicate/16KiB|Acknowledgements|Post|BenchmarkFlush$$|Produce|Fetch/
.PHONY: bench-check
bench-check: ## compare the benchmarks of each stage with BASE (default HEAD~1) by benchstat; BENCHES=, COUNT=
	rm -rf build/bench-check && git worktree prune && mkdir -p build && git worktree add -q --detach build/bench-check $(BASE)
	for i in $$(seq $(COUNT)); do \
		(cd build/bench-check && $(GO) test -run '^$$' -bench '$(BENCHES)' -benchtime 100ms -benchmem $(STAGES) >> bench.txt) || exit 1; \
		$(GO) test -run '^$$' -bench '$(BENCHES)' -benchtime 100ms -benchmem $(STAGES) >> build/bench-check/now.txt || exit 1; \
	done
	cd build/bench-check && $(GO) run $(BENCHSTAT) BASE=bench.txt NOW=now.txt
	git worktree remove --force build/bench-check

# What the tests on real processes need and Go does not bring: kcat, strace, Java and Kafka's own tools.
.PHONY: kcat strace java
java: COMMAND = mvn
java: PACKAGES = maven default-jre-headless
kcat strace java:
	@command -v $(or $(COMMAND),$@) >/dev/null || { apt-get update -qq && apt-get install -y -qq $(or $(PACKAGES),$@); }

KAFKA_TOOLS = build/kafka-tools
$(KAFKA_TOOLS): integration/interop/java/pom.xml | java
	rm -rf $@
	mvn -B -q -f $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/$@
	touch $@

# Clients in Python and JavaScript, in folders of their own.
CLIENTS = build/interop
CLIENTS_FROM = integration/interop/clients

.PHONY: node
node:
	@command -v npm >/dev/null || { apt-get update -qq && apt-get install -y -qq nodejs npm; }

$(CLIENTS)/python: $(CLIENTS_FROM)/requirements.txt
	rm -rf $@
	python3 -m venv $@ || { rm -rf $@ && apt-get update -qq && apt-get install -y -qq python3-venv && python3 -m venv $@; }
	$@/bin/pip install -q --disable-pip-version-check -r $<
	touch $@

$(CLIENTS)/kafkajs: $(CLIENTS_FROM)/kafkajs/package.json $(CLIENTS_FROM)/kafkajs/package-lock.json | node
	rm -rf $@ && mkdir -p $@ && cp $^ $@
	cd $@ && npm ci --ignore-scripts --silent
	touch $@

# Debian's cargo may be too old for what is built; cargo-web is a newer one beside it.
.PHONY: cargo
cargo:
	@command -v cargo >/dev/null || { apt-get update -qq && { apt-get install -y -qq cargo-web || apt-get install -y -qq cargo; }; }

$(CLIENTS)/rskafka: $(wildcard $(CLIENTS_FROM)/rskafka/Cargo.* $(CLIENTS_FROM)/rskafka/src/*) | cargo
	cargo build --quiet --locked --manifest-path $(CLIENTS_FROM)/rskafka/Cargo.toml --target-dir $(CURDIR)/$@
	touch $@

INTEROP_NEEDS = kcat $(KAFKA_TOOLS) $(CLIENTS)/python $(CLIENTS)/kafkajs $(CLIENTS)/rskafka
INTEROP = cd integration/interop && KAFKA_TOOLS=$(CURDIR)/$(KAFKA_TOOLS) INTEROP_CLIENTS=$(CURDIR)/$(CLIENTS) $(GO) test -count=1 -parallel 4 -timeout 20m ./...

.PHONY: interop
interop: $(INTEROP_NEEDS) ## run Go, C, Java, Python, JavaScript and Rust clients against the binary (installs them)
	staticcheck=$$($(GO) tool -n staticcheck) && cd integration/interop && $(GO) vet ./... && $$staticcheck ./...
	$(INTEROP)

.PHONY: interop-table
interop-table: $(INTEROP_NEEDS) ## run them and write the README's table of clients
	INTEROP_README=$(CURDIR)/README.md; export INTEROP_README; $(INTEROP)

.PHONY: reference
reference: $(INTEROP_NEEDS) ## run the same clients against Apache Kafka, to test the tests
	INTEROP_REFERENCE=1; export INTEROP_REFERENCE; $(INTEROP)

.PHONY: crash
crash: kcat strace ## kill the binary under load, damage its files (installs them)
	$(GO) vet -tags crash ./integration/crash
	$(GO) tool staticcheck -tags crash ./integration/crash
	$(GO) test -tags crash -count=1 -timeout 15m ./integration/crash

SEEDS ?= 2000
.PHONY: sim
sim: ## simulate whole clusters: SEEDS histories, or that of SEED, with some of its FAULTS
	$(GO) run ./integration/sim/simulate -seeds $(SEEDS) -seed $(or $(SEED),0) -faults "$(FAULTS)" -commit $$(git rev-parse --short HEAD)

.PHONY: planted
planted: ## plant bugs in copies of the source, and have the simulator find each
	$(GO) run ./integration/planted

# What of the cores the simulator reaches: some seeds, a few of them in detail.
COVERED = understudy/cluster/replica,understudy/cluster/election,understudy/cluster/placement,understudy/actors/controller,understudy/actors/group,understudy/actors/group/core
COVERDIR = build/sim-coverage
.PHONY: sim-coverage
sim-coverage: ## measure what of replication, election, placement, controller and groups SEEDS of the simulator reach
	rm -rf $(COVERDIR) && mkdir -p $(COVERDIR)
	$(GO) build -cover -covermode set -coverpkg $(COVERED),understudy/integration/sim/simulate -o $(COVERDIR)/simulate ./integration/sim/simulate
	GOCOVERDIR=$(COVERDIR) $(COVERDIR)/simulate -seeds $(SEEDS)
	for seed in 1 2 3 4 5; do GOCOVERDIR=$(COVERDIR) $(COVERDIR)/simulate -seed $$seed -lines 10 >/dev/null || exit 1; done
	$(GO) tool covdata textfmt -i $(COVERDIR) -pkg $(COVERED) -o $(COVERDIR)/profile.txt
	$(GO) tool cover -func $(COVERDIR)/profile.txt | grep -v '100.0%'
	$(GO) tool covdata percent -i $(COVERDIR) -pkg $(COVERED)

.PHONY: figures
figures: ## measure the binary beside this machine's limits (10 minutes, 20 GB)
	$(GO) run ./integration/figures

# The systems that we are measured beside, and the machine's quiet is yours to see to.
KAFKA_PEER   = build/kafka-peer
NATS_VERSION = v2.15.2
NATS         = $(CURDIR)/build/nats/nats-server
$(KAFKA_PEER): integration/peers/java/pom.xml | java
	rm -rf $@
	mvn -B -q -f $< dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=$(CURDIR)/$@
	touch $@

$(NATS):
	GOBIN=$(dir $@) $(GO) install github.com/nats-io/nats-server/v2@$(NATS_VERSION)

# What to run: a pattern of scenarios, systems separated by commas, how often. QUICK=1 is ten minutes.
ONLY    ?=
SYSTEMS ?=
QUICK   ?=
.PHONY: bench-peers
bench-peers: build $(CONSUL) $(KAFKA_PEER) $(NATS) ## measure us beside Kafka, NATS and a bare skeleton; QUICK=1, ONLY=, SYSTEMS=, ROUNDS=
	staticcheck=$$($(GO) tool -n staticcheck) && cd integration/peers && $(GO) vet ./... && $$staticcheck ./... && $(GO) test ./...
	cd integration/peers && $(GO) build -o $(CURDIR)/build/peers-bench . && UNDERSTUDY_TEST_BINARY=$(CURDIR)/build/understudy \
		$(CURDIR)/build/peers-bench -consul $(CONSUL) -nats $(NATS) $(if $(QUICK),-quick) $(if $(ROUNDS),-rounds $(ROUNDS)) -only '$(ONLY)' -systems '$(SYSTEMS)'

# The suite that kills, freezes and cuts off the nodes of clusters of real processes.
REPEATS  ?= 1
SCENARIO ?= .
CLUSTER  = cd integration/cluster && CGO_ENABLED=1 CONSUL_BINARY=$(CONSUL) $(GO)

.PHONY: netns
netns:
	@command -v ip >/dev/null && command -v nft >/dev/null || { apt-get update -qq && apt-get install -y -qq iproute2 nftables; }

.PHONY: cluster
cluster: $(CONSUL) netns ## faults on clusters of real processes; needs root and a C compiler; REPEATS=, SCENARIO=, SETTLE=
	staticcheck=$$($(GO) tool -n staticcheck) && $(CLUSTER) vet -tags cluster . && CGO_ENABLED=1 $$staticcheck -tags cluster .
	$(CLUSTER) test -tags cluster -count=1 -v -timeout 24h -run '$(SCENARIO)' . -repeats $(REPEATS) $(if $(SETTLE),-settle $(SETTLE)) -report $(CURDIR)/build/cluster-report.txt

.PHONY: client-soak
client-soak: ## a million records through key actors while everything around them fails (10 minutes)
	CLIENT_SOAK_RECORDS=1000000 $(GO) test -count=1 -timeout 60m -v -run TestMuchGoesWrong ./client

.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || { apt-get update -qq && apt-get install -y -qq chromium; }

STOREFRONT = cd examples/storefront/browser && $(GO)
.PHONY: storefront-test
storefront-test: chromium ## test the storefront's page in headless Chromium (installs it)
	staticcheck=$$($(GO) tool -n staticcheck) && $(STOREFRONT) vet . && $$staticcheck .
	$(STOREFRONT) test -count=1 -timeout 15m .

.PHONY: storefront-picture
storefront-picture: export STOREFRONT_PICTURE = $(CURDIR)/docs/storefront.png
storefront-picture: chromium ## take the README's picture of the storefront
	$(STOREFRONT) test -count=1 -timeout 15m .

# A cluster of real processes is hurt for MINUTES, by the choices of SEED, and must
# have kept every promise: the page build/chaos.html says what happened. Ctrl-C ends
# the faults, not the judgement. With POWER the brokers' disks are this process's memory
# (some 300 MB for a million records), so that long runs go without: see soak.
MINUTES ?= 5
RATE    ?= 50
POWER   ?= true
# In network namespaces where root allows, else through proxies of the test's own, which
# do fewer faults, and install nothing.
NETWORK ?= $(if $(filter 0,$(shell id -u)),namespaces,proxy)
.PHONY: chaos
chaos: $(CONSUL) $(if $(filter namespaces,$(NETWORK)),netns strace) ## hurt a cluster of real processes for MINUTES, and judge it; SEED=, RATE=, POWER=, FAULTS=, NETWORK=namespaces (root) or proxy; needs a C compiler
	$(CLUSTER) test -c -tags cluster -o $(CURDIR)/build/chaos.test .
	cd integration/cluster && CONSUL_BINARY=$(CONSUL) $(CURDIR)/build/chaos.test -test.v -test.timeout 0 -test.run '^TestChaos$$' \
		-minutes $(MINUTES) $(if $(SEED),-seed $(SEED)) $(if $(FAULTS),-faults $(FAULTS)) -rate $(RATE) -power=$(POWER) -network $(NETWORK) \
		-chaos-report $(CURDIR)/build/chaos.html -chaos-history $(CURDIR)/build/chaos.history

HOURS ?= 8
.PHONY: soak
soak: ## chaos for HOURS, with more load, on the machine's own disks
	$(MAKE) chaos MINUTES=$$(( $(HOURS) * 60 )) RATE=150 POWER=false

.PHONY: powerfs
powerfs: ## test the disk whose power can be cut; needs root and /dev/fuse
	$(CLUSTER) vet -tags cluster ./powerfs
	$(CLUSTER) test -tags cluster -count=1 -timeout 5m ./powerfs

.PHONY: groups
groups: MINUTES = 10
groups: $(CONSUL) netns ## kill and freeze a consumer group's members and its brokers for MINUTES; needs root and a C compiler
	$(CLUSTER) test -tags cluster -count=1 -v -timeout 24h -run TestAGroupInTurmoil . -duration $(MINUTES)m
