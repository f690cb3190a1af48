# Gavel. `make` alone explains the targets. Everything here is a plain command that can be typed as well.
SHELL := /usr/bin/env bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# What can be set on the command line: make fuzz FUZZTIME=1m
FUZZTIME ?= 10s
BENCH ?= .
COUNT ?= 6
DATA ?= ../shared/data/open-bandit
READY ?= .gavel/ready.json
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

.PHONY: help
help: ## Explain every target
	@echo "usage: make TARGET [NAME=value ...]"; echo
	@while IFS= read -r line; do \
	  if [[ $$line =~ ^([a-z0-9-]+):.*\#\#\ (.*)$$ ]]; then printf '  %-12s %s\n' "$${BASH_REMATCH[1]}" "$${BASH_REMATCH[2]}"; fi; \
	done <Makefile

.PHONY: dev
dev: ## Run everything from nothing, with a demo account; Ctrl-C ends it (READY=file to leave its URLs and keys in)
	@mkdir -p "$(dir $(READY))"
	go run ./cmd/gavel dev --ready-file "$(READY)"

.PHONY: build
build: ## Build the program as bin/gavel
	CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/gavel ./cmd/gavel

.PHONY: test
test: ## Run all tests; Postgres and Redis are started for them
	go test ./...

.PHONY: test-short
test-short: ## Run the tests that need neither Postgres nor Redis
	go test -short ./...

.PHONY: race
race: ## Run the packages with concurrency under the race detector (needs a C compiler)
	.ci/run race

.PHONY: lint
lint: ## Run the pinned linters of .golangci.yml
	.ci/run lint

.PHONY: fmt
fmt: ## Format the Go code (gofumpt, sorted imports)
	"$$(tools/ensure tools)/golangci-lint" fmt

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (10s)
	FUZZTIME=$(FUZZTIME) .ci/run fuzz

.PHONY: bench
bench: ## Run the benchmarks matching BENCH (all) COUNT times (6), and summarise them
	@mkdir -p bin
	go test -run '^$$' -bench '$(BENCH)' -benchmem -count $(COUNT) ./... | tee bin/bench.txt
	"$$(tools/ensure tools)/benchstat" bin/bench.txt

.PHONY: k6-smoke
k6-smoke: ## Start a server, load it with k6 for 20 s, check the thresholds, stop it
	loadtest/run-smoke

.PHONY: openbandit
openbandit: ## Replay the Open Bandit log of DATA against the server of `make dev`, and audit it
	go run ./cmd/gavel loadtest openbandit --ready-file "$(READY)" "$(DATA)"

.PHONY: ci
ci: ## Run every check, as CI does
	.ci/run
