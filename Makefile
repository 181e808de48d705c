# Everything that is done with Noctus on a developer's machine; `make` lists it.
#
#   PROFILE=dev|release   how Rust is compiled (dev)
#   STAY=1, REAL=1        what `make demo` does
#   WIPE=1                `make stack-down` forgets the data too

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-unit test-it test-long campaign campaign-long fmt lint deny stack-up stack-down

# A Rust that rustup has just installed is not on PATH yet.
export PATH := $(PATH):$(HOME)/.cargo/bin
PROFILE ?= dev
# Tests plant faults, which no other build has.
TESTED := --locked --features faults
CARGO_PROFILE := --locked --profile $(PROFILE)
STACK_ENV = $${NOCTUS_STACK_HOME:-$${XDG_CACHE_HOME:-$$HOME/.cache}/noctus-stack}/stack.env
CAMPAIGN = set -a && . "$(STACK_ENV)" && set +a && export MINUTES="$(MINUTES)" SEED="$(SEED)" ONLY="$(ONLY)" && \
	exec "$$NOCTUS_TEST_PYTHON" tests/campaign/run.py
REAL_SERVICES = --real --brokers "$$NOCTUS_TEST_BROKERS" --registry "$$NOCTUS_TEST_REGISTRY" --database "$$NOCTUS_TEST_DATABASE"

help: ## List the targets
	@grep -hE '^[a-z-]+:.* ## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.* ## /\1\t/' | expand -t 14

setup: ## Install what the build needs from apt (as root), or print the line that does
	@.ci/setup

build: setup ## Compile the executable: target/debug/noctus, or target/release/noctus with PROFILE=release
	cargo build $(CARGO_PROFILE)

demo: build ## The whole way of an order, with a report; STAY=1 keeps it up, REAL=1 plays it on the test stack
	@$(if $(REAL),tests/stack/up && . "$(STACK_ENV)" &&) exec cargo run -q $(CARGO_PROFILE) -- demo $(if $(STAY),--stay) $(if $(REAL),$(REAL_SERVICES))

test: lint test-unit test-it ## Format, lints, unit and property tests, the real stack

test-unit: setup ## Unit and property tests; they need no service
	cargo test $(TESTED) --lib

test-it: setup stack-up ## The integration tests, on the test stack
	cargo test $(TESTED) --test it

test-long: setup ## What takes longer than CI may: the laws 100 000 times, 100 000 simulated worlds, fuzzing, 100 drills of the kill switch, a rebuild of 1 000 000 events; results in docs/results/
	tests/long

campaign: setup stack-up ## Load, faults and an independent audit (CI); SEED=…, ONLY=main|classes|controls
	cargo build $(TESTED)
	@$(CAMPAIGN)

campaign-long: setup stack-up ## The same for an hour, by hand: MINUTES=…, SEED=…, ONLY=…, WIDTH=… side by side; goes on where it was ended
	cargo build $(TESTED) --profile $(PROFILE)
	@export WIDTH="$(WIDTH)" NOCTUS_EXECUTABLE="$(CURDIR)/target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/noctus"; $(CAMPAIGN) --long

fmt: ## Format the code
	cargo fmt

lint: setup ## Check the format and the lints
	cargo fmt --check
	cargo clippy $(TESTED) --all-targets -- -D warnings

deny: ## Check licences, sources and duplicates of dependencies (needs cargo-deny)
	cargo deny --locked check bans licenses sources

stack-up: ## Bring up Kafka, the registry and Postgres for the tests; again and again is fast
	tests/stack/up

stack-down: ## End them; WIPE=1 removes their data
	tests/stack/down $(if $(WIPE),--wipe)
