# `make help` lists the targets. What they do stands in scripts/.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help demo rows build images kind-up kind-down test suite e2e cluster-up cluster-shell cluster-down fmt lint deny unit soak-kinesis bench-kinesis bench-assignment chaos sim sim-mutants generate check-generated advisories clean-cache bench bench-peers bench-stream bench-tick bench-commit bench-client bench-operator operator-rights fuzz web screenshot

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-16s %s\n", $$1, $$2}' Makefile

demo: ## Set up, build, and run the main job: real bars in, one-minute rows out
	@scripts/demo.sh

rows: ## Show the demo's newest rows, read back by DuckDB
	@scripts/rows.sh

build: ## Set up and build; the binary is bin/stockstream
	@scripts/setup.sh build
	@scripts/build.sh product

images: ## Build the images of worker and operator as they are published, without Docker: OCI archives in images/
	@scripts/setup.sh build
	@scripts/setup.sh python
	@scripts/images.sh --profile release

kind-up: ## The operator and a pipeline on kind, with AWS emulated (needs docker, kind, kubectl, helm; not run in CI)
	@scripts/kind.sh up

kind-down: ## End that cluster
	@scripts/kind.sh down

test: ## Set up and run every check and test, as CI does
	@scripts/test.sh all

suite: ## Build and run one suite: make suite SUITE=readme [ARGS=--nocapture]
	@scripts/test.sh suite '$(SUITE)' $(ARGS)

e2e: ## All that is tried on a real Kubernetes, in its long form: make e2e [ARGS=NAME]
	@scripts/test.sh suite e2e $(ARGS)
	@scripts/test.sh suite operator $(ARGS)

cluster-up: ## Start a Kubernetes of one node to try things on; it says how to use it
	@scripts/setup.sh cluster
	@tests/cluster/up.sh
	@tests/cluster/usage.sh

cluster-shell: ## A shell in that cluster's network, with kubectl and helm
	@tests/cluster/enter.sh "$${SHELL:-bash}"

cluster-down: ## End that cluster; nothing of it stays
	@tests/cluster/down.sh

fmt: ## Format the code
	@. scripts/env.sh && cargo fmt --all

lint: ## Check with clippy, with and without failpoints; warnings are errors
	@scripts/build.sh prepare
	@. scripts/env.sh && cargo clippy --workspace --all-targets -- -D warnings
	@. scripts/env.sh && cargo clippy --workspace --all-targets --features stockstream/failpoints,stockstream-operator/failpoints -- -D warnings

deny: ## Check the dependencies' licences, bans and sources
	@scripts/setup.sh test
	@. scripts/env.sh && cargo deny --workspace --all-features check licenses bans sources

unit: ## Run the unit, property and doc tests only: make unit [ARGS="-p stockstream-core"]
	@scripts/build.sh prepare
	@. scripts/env.sh && cargo test $(or $(ARGS),--workspace --exclude stockstream-tests)

soak-kinesis: ## The embedded Kinesis under load: a minute in memory, on disk and with kills; SECONDS=N for longer
	@scripts/build.sh prepare
	@. scripts/env.sh && STOCKSTREAM_SOAK_SECONDS=$(or $(SECONDS),60) cargo test --workspace --test soak -- --nocapture --test-threads 1

bench-kinesis: ## The embedded Kinesis' speed beside kinesis-local's, and its bottleneck; ARGS=--help for options
	@scripts/bench-kinesis.sh $(ARGS)

bench: ## Files of ticks to one-minute rows, beside DuckDB and Polars: ticks/s, memory, ratio; ARGS=--help for options
	@scripts/bench.sh $(ARGS)

bench-peers: ## The same job on Spark's Structured Streaming and on Flink: ticks/s, memory, files, ratio; ARGS=--help for options
	@scripts/bench-peers.sh $(ARGS)

bench-stream: ## A pipeline's speed from the stream to Parquet: ticks/s, idle cost, latency, bottleneck; ARGS=--help for options
	@scripts/bench-stream.sh $(ARGS)

bench-client: ## The worker's client side of a stream beside the SDK's own decoder: records/s and shards a core; ARGS=--help
	@. scripts/env.sh && cargo bench --quiet --package stockstream-tests --bench client -- $(ARGS)

bench-assignment: ## How long the plan of who has which shard takes: 10,000 shards, 200 workers
	@. scripts/env.sh && cargo bench --quiet --package stockstream-core --bench assignment

bench-commit: ## What a commit costs a shard of 500, 10,000 and 100,000 tickers: bytes and time
	@. scripts/env.sh && cargo bench --quiet --package stockstream-core --bench commit

bench-tick: ## What a tick costs the core: parsed, and counted into its window
	@. scripts/env.sh && cargo bench --quiet --package stockstream-core --bench tick

sim: ## The worker's loop in a simulation: make sim [SEEDS=1000] [JOBS=2], or one seed with its trace: make sim SEED=7
	@scripts/sim.sh seeds $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),1000)) --from $(or $(FROM),1) --jobs $(or $(JOBS),$(shell nproc)) $(ARGS)

sim-mutants: ## Break the protocol in named ways: each must be noticed within the 300 seeds of make test
	@scripts/sim.sh mutants --mutants --seeds 300 --jobs $(or $(JOBS),$(shell nproc)) $(ARGS)

chaos: ## Real workers, a real S3 server and a fault proxy: kills, pauses, splits, bad weather; SECONDS=600 DISTURBANCES=200
	@STOCKSTREAM_CHAOS=$(or $(SECONDS),600),$(or $(DISTURBANCES),200) scripts/test.sh suite chaos --nocapture

bench-operator: ## The operator on a real cluster: apply to Ready, recovery, roll-outs, 100 pipelines; [ONE=recovery]
	@STOCKSTREAM_MEASURE=1 scripts/test.sh suite operator --nocapture $(ONE)

operator-rights: ## Take away each of the operator's rights in Kubernetes in turn: it must miss it; minutes
	@STOCKSTREAM_MEASURE=1 scripts/test.sh suite operator --nocapture each_right

fuzz: ## Look for bytes that the faster parsers take and the strict ones don't: [SECONDS=60] [TARGET=ticks|replies] [REPLAY=FILE]
	@scripts/fuzz.sh --target '$(TARGET)' --seconds '$(SECONDS)' --replay '$(REPLAY)'

generate: ## Write the CRD, its template in the chart, the editors' schema and docs/stockstream.md from the types
	@. scripts/env.sh && cargo build --quiet --workspace --bin generate && "$$CARGO_TARGET_DIR/debug/generate"

check-generated: ## Fail when a generated file is stale
	@. scripts/env.sh && cargo build --quiet --workspace --bin generate && "$$CARGO_TARGET_DIR/debug/generate" --check

web: ## Build the page from worker/web/src into worker/web/dist, which is checked in
	@scripts/web.sh build

screenshot: ## Renew docs/images/page.png from a run of the demo's bars
	@STOCKSTREAM_SCREENSHOT=docs/images/page.png scripts/test.sh suite page --exact the_page_of_the_demo_for_the_readme --nocapture

advisories: ## Check the dependencies for known vulnerabilities (needs the internet)
	@scripts/setup.sh test
	@. scripts/env.sh && cargo deny --workspace --all-features check advisories

clean-cache: ## Remove what this project built and installed below $STOCKSTREAM_CACHE
	@. scripts/env.sh && rm -rf "$$STOCKSTREAM_CACHE"/{target,tools,venv-*,node-*,web-*,kube-*} && echo "removed below $$STOCKSTREAM_CACHE"
