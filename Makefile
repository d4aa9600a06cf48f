# What a person types; .ci/run types the same. `make help` lists it.

CARGO ?= cargo

.DEFAULT_GOAL := help
.PHONY: help demo test test-long check fmt clippy deny docs shell bench sim

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: ## 10,000 real leases in a private network, with nothing to set up
	@scripts/install-test-packages --linker
	$(CARGO) run --release --locked -p lessee -- load --lab --leases 10000

# Four at a time: the stories mostly wait, for the servers' own timers.
test: export RUST_TEST_THREADS ?= 4
test: ## all tests, on real links and against real servers (as root: installs those first)
	@scripts/install-test-packages
	$(CARGO) test --workspace --locked --no-fail-fast

test-long: export LESSEE_LONG = 1
test-long: test ## the same, with the tests that take minutes each

sim: export SIM_SEED = $(SEED)
sim: export SIM_SEEDS = $(SEEDS)
sim: ## the simulator; SEED=n runs that seed again, SEEDS=n so many from there on
	$(CARGO) test --locked -p lessee-tests --test sim -- --nocapture every_rule

check: fmt clippy deny docs shell ## format, lints, house rules, licences, documentation

fmt:
	$(CARGO) fmt --all -- --check

clippy:
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings

# Licences, banned and duplicate crates, import and package tables, fixtures, docs/status.md.
deny:
	$(CARGO) test --quiet --locked -p lessee-tests --test tidy --test dependencies

docs: export RUSTDOCFLAGS = -D warnings
docs:
	$(CARGO) doc --workspace --no-deps --locked

SCRIPTS = .ci/run $(wildcard scripts/*)
shell:
	@for script in $(SCRIPTS); do bash -n $$script || exit; done
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPTS); fi

bench: ## speed, beside the ceiling of this machine
	@scripts/install-test-packages --linker
	$(CARGO) bench --locked -p lessee-benches
