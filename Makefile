# failoverd: what a developer types. Each target installs what it needs.

SHELL := /bin/bash
GO ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
SEEDS ?= 500
SEED ?= 1

.PHONY: build demo test check sim lint fmt clean tools deps cover

build: ## the daemon and the lab, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/failoverd ./cmd/failoverd
	cd lab && CGO_ENABLED=0 $(GO) build -trimpath -o ../bin/lab ./cmd/lab

# The daemon without its fence, for UNSAFE=skip-fence only: lab/unsafe/README.md.
bin/failoverd-unsafe: build
	@printf '{"Replace":{"%s":"%s","%s":"%s"}}' '$(CURDIR)/failover/unproven.go' '$(CURDIR)/lab/unsafe/unproven.go.txt' \
		'$(CURDIR)/fence/bound.go' '$(CURDIR)/lab/unsafe/bound.go.txt' > bin/unsafe-overlay.json
	CGO_ENABLED=0 $(GO) build -trimpath -overlay bin/unsafe-overlay.json -ldflags '$(LDFLAGS)-unsafe' -o $@ ./cmd/failoverd

# A region goes dark before your eyes. DEATH=cut|killed SCENARIO=blip|leader-crash|manual|api-only|route53-down|
# control-plane-impaired|zone-down|home VIA=slack|cli
# UNSAFE=skip-fence KEEP=1 FACTOR=1..4; needs root for its network namespaces.
demo: deps build $(if $(UNSAFE),bin/failoverd-unsafe)
	@DEATH='$(DEATH)' SCENARIO='$(SCENARIO)' VIA='$(VIA)' UNSAFE='$(UNSAFE)' KEEP='$(KEEP)' FACTOR='$(FACTOR)' bin/lab demo

test: deps
	$(GO) vet ./...
	@$(MAKE) --no-print-directory race
	@$(MAKE) --no-print-directory stories sim
	cd lab && $(GO) vet ./... && $(GO) test -race -p 1 -timeout 70m ./... # one world at a time
	@echo "NOT TESTED by this: kubernetes against a real API server (make kube-testbed does), MongoDB against a real mongod (ours speaks its protocol)"

# Packages with tests in bubbles of fake time run on one processor each: under -race the runtime of Go 1.26 lets two
# goroutines of a bubble share a race context when they find timers that have ended, and crashes (SIGSEGV in
# maybeRunChan). `-cpu 1` makes that impossible; the race detector needs no second processor to see a race.
.PHONY: race
race:
	@bubbles=$$($(GO) list -f '{{$$p := .ImportPath}}{{range .TestImports}}{{if eq . "testing/synctest"}}{{$$p}}{{end}}{{end}}{{range .XTestImports}}{{if eq . "testing/synctest"}}{{$$p}}{{end}}{{end}}' ./... | grep .); \
	others=$$($(GO) list ./... | grep -vxF "$$bubbles"); set -e; set -x; \
	$(GO) test -race -cpu 1 -timeout 20m $$bubbles; \
	$(GO) test -race $$others

# Whole clusters under faults, in fake time, judged from the world's record. SEEDS=n, SEED=first.
sim:
	@mkdir -p out
	@$(GO) test ./internal/sim -run TestSim -v -seeds $(SEEDS) -seed $(SEED) -timeout 120m > out/sim.log 2>&1 \
		|| { cat out/sim.log; grep -h '^sim:' out/sim.log; exit 1; }
	@grep -hE '^(ends|cell):' out/sim.log
	@grep -h '^sim:' out/sim.log

# What happens when: docs/what-happens-when.md, each of its sentences asserted.
.PHONY: stories
stories:
	$(GO) test ./internal/sim -run TestStories -count=1

# The leader is struck at each write and each call of a failover with the example's plan: docs/crash-matrix.md.
# POINT=scene/point FAULT=name, or two names with a comma, play one cell.
.PHONY: crashmatrix
crashmatrix:
	@mkdir -p out
	@$(GO) test ./internal/sim -run 'TestCrashMatrix$$' -v -count=1 $(if $(POINT),-point '$(POINT)' -fault '$(FAULT)',-matrix) -timeout 60m > out/crashmatrix.log 2>&1 \
		|| { cat out/crashmatrix.log; grep -h '^crashmatrix:' out/crashmatrix.log; exit 1; }
	@grep -h '^crashmatrix:' out/crashmatrix.log

# Outages that others have had, replayed: whole clusters in fake time, and real processes where only they are honest.
.PHONY: incidents
INCIDENTS = P1 P2 P3 P4 P5 P6 P7 P9 P10 P11 P12 P15 P16 P17 P18
incidents: deps
	@mkdir -p out
	@{ $(GO) test ./internal/sim -run 'TestStories/P' -v -count=1 && $(GO) test ./actions ./probes ./internal/daemon -run TestIncident -v -count=1 && $(GO) test ./consensus -run TestIncident -v -count=1 -entries 1000000; } > out/incidents.log 2>&1; a=$$?; \
	(cd lab && $(GO) test -race -p 1 ./e2e -run 'TestIncident' -v -count=1 -timeout 30m) >> out/incidents.log 2>&1; b=$$?; \
	grep -E '^ *--- (PASS|FAIL|SKIP): (TestStories/P|TestIncident)' out/incidents.log; \
	bad=$$(grep -cE '^ *--- (FAIL|SKIP): (TestStories/P|TestIncident)' out/incidents.log); good=$$(grep -cE '^ *--- PASS: (TestStories/P|TestIncident)' out/incidents.log); \
	if [ $$a != 0 ] || [ $$b != 0 ]; then cat out/incidents.log; fi; \
	missing=; for p in $(INCIDENTS); do grep -qE "^ *--- PASS: (TestStories/|TestIncident)$$p([^0-9]|$$)" out/incidents.log || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "no test has passed of:$$missing"; fi; \
	echo "incidents: cases=$$((good + bad)) passed=$$good failed=$$bad missing=$$(echo $$missing | wc -w)"; [ $$a = 0 ] && [ $$b = 0 ] && [ $$bad = 0 ] && [ -z "$$missing" ]

# The protocol models, searched exhaustively with spin: model/README.md. TRAIL=name shows one counter-example.
.PHONY: model spin
model: spin
	@$(GO) run ./model $(if $(TRAIL),-trail '$(TRAIL)')

spin:
	@{ command -v spin && command -v gcc; } >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends spin gcc libc6-dev; } >/dev/null \
		|| { echo "the model needs spin (6.5 or later) and gcc, and they could not be installed: apt-get install spin gcc"; exit 1; }

# Each safety rule taken out of the code, one at a time: a named test must turn red. docs/mutants.md; ONLY=name runs one.
.PHONY: mutants
mutants:
	@$(GO) run ./internal/mutants $(if $(ONLY),-only '$(ONLY)')

# A thousand years of a noisy network, judged by the real decision logic: docs/false-alarms.md. YEARS=n
.PHONY: false-alarms
YEARS ?= 1000
false-alarms:
	@$(GO) run ./internal/falsealarm/cmd -years $(YEARS)

# All measures, one after another, each beside its goal or its peer: half an hour.
.PHONY: bench
bench: bench-sim bench-probes bench-restore bench-calls

# What the network and the timers cost, measured in fake time, beside the goals; fails where a bound is exceeded. BENCH=n trials
# for each figure: a 99th percentile wants a hundred and more.
BENCH ?= 200
.PHONY: bench-sim
bench-sim:
	@$(call benched,./internal/sim -run TestMeasures -v -trials $(BENCH) -timeout 60m)

# The probe engine beside blackbox_exporter, in one run on one core: rate, CPU, lateness, memory.
.PHONY: bench-probes
bench-probes:
	@command -v prometheus-blackbox-exporter >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus-blackbox-exporter; } >/dev/null
	@$(call benched,./monitor -run '^$$' -bench 'Engine|Peer' -benchtime 1x)

# A restore beside mariadb's own client, in one run.
.PHONY: bench-restore
bench-restore: deps
	@$(call benched,./internal/restore -run '^$$' -bench Restore -v -timeout 60m)

# The AWS calls of a whole failover beside the least that could do it, counted by the lab; fails where a change was made twice.
.PHONY: bench-calls
bench-calls: deps
	@$(call benched,-C lab ./e2e -run 'TestIncidentP2RegionCutOff$$' -v)

# benched runs a measure and prints its figures; of one that fails, everything.
benched = mkdir -p out && { $(GO) test $(1) -count=1 > out/$@.log 2>&1 || { cat out/$@.log; exit 1; }; } && sed -n 's/^.*bench: /bench: /p' out/$@.log

# A restore of MariaDB that is killed by kill -9 at so many random places, each time carried on by another leader; make check does a few.
KILLS ?= 200
.PHONY: restore-kills
restore-kills:
	@mkdir -p out
	@$(GO) test ./internal/restore -run 'TestDeath$$' -v -count=1 -points $(KILLS) -kill9 -timeout 60m > out/restore-kills.log 2>&1 || { cat out/restore-kills.log; exit 1; }
	@grep -h 'kill -9;' out/restore-kills.log

# What the tests and the demo need beside Go: ip, for network namespaces; the programs of the runbook's and the functions' examples;
# a real MariaDB, of which the tests start servers of their own.
deps:
	@missing=; for p in ip=iproute2 openssl=openssl curl=curl python3=python3 node=nodejs mariadbd=mariadb-server systemd-analyze=systemd; do \
		command -v $${p%=*} >/dev/null || missing="$$missing $${p#*=}"; done; \
	test -z "$$missing" || { apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates $$missing; }

# The tests of Kubernetes against a real API server and its controllers. They are built once, from the Go module proxy, and kept
# beside Go's build cache; that takes a quarter of an hour.
.PHONY: kube-testbed
kube-testbed:
	@command -v openssl >/dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends openssl; }
	tools/kube/testbed.sh build
	tools/kube/testbed.sh run $(GO) test ./actions -run 'TestKubernetes' -count=1 -v

# What a change must pass; nothing is written. The seeds of the fuzz targets run as tests.
check: deps tidy
	@files=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); test -z "$$files" || { echo "gofmt (make fmt):"; echo "$$files"; exit 1; }
	$(GO) vet ./...
	cd lab && $(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	cd lab && $(GO) tool -modfile=../tools/go.mod staticcheck ./...
	@$(MAKE) --no-print-directory race

# go.mod and go.sum of each module say what the code needs, no more and no less.
.PHONY: tidy
tidy:
	@for m in . lab tools; do (cd $$m && $(GO) mod tidy -diff) || { echo "go mod tidy in $$m"; exit 1; }; done

# golangci-lint with .golangci.yml where it is installed; make check does without it.
lint:
	@command -v golangci-lint >/dev/null || { echo "golangci-lint is not installed: go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0"; exit 1; }
	golangci-lint run ./...
	cd lab && golangci-lint run --config ../.golangci.yml ./...

# Statement coverage of each package by all tests, and the total.
cover:
	@mkdir -p out
	$(GO) test -coverpkg=./... -coverprofile=out/cover.out ./...
	@$(GO) tool cover -func=out/cover.out | tail -1

# Each fuzz target for FUZZTIME.
FUZZTIME ?= 30s
.PHONY: fuzz
fuzz:
	$(GO) test ./consensus -run '^$$' -fuzz FuzzDecode -fuzztime $(FUZZTIME)
	$(GO) test ./internal/admin -run '^$$' -fuzz FuzzCommand -fuzztime $(FUZZTIME)
	$(GO) test ./internal/dump -run '^$$' -fuzz FuzzSplit -fuzztime $(FUZZTIME)

fmt:
	gofmt -w $$(git ls-files '*.go')

clean:
	rm -rf bin out
