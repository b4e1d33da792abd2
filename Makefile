# The interface of this repository. `make help` lists what there is.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# All that every target needs: what is installed, and the compiled pass of the intake.
STAMP  := $(VENV)/.ready
COMPILED_SOURCE := worker/core/intake/compiled_pass.pyx
BENCH_STAMP := $(VENV)/.bench-installed
QUIX   := .venv-quix
ARGS   ?=
UNIT_ARGS :=

# The cache of compiled modules is most of what a second run saves: tests are rewritten by pytest before they are compiled.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
ALL_CORES := -n auto --dist worksteal
.PHONY: help setup compiled sanitize demo run image quick test lint types contracts unit pytest format schema lock simulate fuzz sbom chaos cluster bench bench-full bench-stages profile clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Create .venv with the command appmetrica-worker in it (30 s)

# The lock names everything, so pip has nothing to resolve: left to itself it prefers a newer release for `package[extra]`, which has
# no hash in the lock, and fails on the day of that release.
$(INSTALLED): pyproject.toml requirements-dev.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) is older than Python 3.11. Install a newer one, or name it: make PYTHON=/path/to/python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check --disable-pip-version-check
	@touch $@

# Where there is no C compiler, the intake runs as pure Python.
$(STAMP): $(INSTALLED) $(COMPILED_SOURCE) hatch_build.py
	$(BIN)/python hatch_build.py
	@touch $@

compiled: $(INSTALLED) ## Build the compiled pass of the intake; fails without a C compiler
	$(BIN)/python hatch_build.py --required

# Python's own allocator would hide a read behind the end of an object. Whatever happens, the next target builds it anew.
SANITIZERS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1 -g
sanitize: $(STAMP) ## Run the compiled pass under AddressSanitizer and UBSan (gcc; ARGS="--count 100000")
	@rm $(STAMP)
	CFLAGS="$(SANITIZERS)" $(BIN)/python hatch_build.py --required
	export LD_PRELOAD="$$(cc -print-file-name=libasan.so) $$(cc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONMALLOC=malloc; \
	  $(BIN)/python -m pytest -q -p no:cacheprovider tests/unit/core/intake/test_compiled_pass.py && \
	  $(BIN)/python -m verification.fuzz $(or $(ARGS),--count 20000)

demo: $(STAMP) ## Start Kafka and an emulator, deliver samples, check that nothing is lost (ARGS="--keep" leaves it running)
	$(BIN)/appmetrica-worker demo $(ARGS)

run: $(STAMP) ## Run the worker with your settings (ARGS="--config FILE")
	$(BIN)/appmetrica-worker run $(ARGS)

# Types and contracts beside the tests, which wait for nothing. Each shows its output when it has ended; make before 4.0 mixes them.
SIDE_BY_SIDE := -j2 $(if $(filter output-sync,$(.FEATURES)),--output-sync=target)
quick: lint ## Lint, types, import contracts, tests/unit: no network, no broker (under 1 min)
	@$(MAKE) --no-print-directory $(SIDE_BY_SIDE) unit types contracts UNIT_ARGS=--hypothesis-profile=quick

test: lint types contracts unit pytest ## All checks: quick (with longer searches), then sockets, processes, simulation, real Kafka (20 min; busy: 40)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

# On all cores: these tests wait for nothing and share nothing.
unit: $(STAMP)
	$(BIN)/pytest -q $(ALL_CORES) tests/unit $(UNIT_ARGS) $(ARGS)

# One by one: brokers, workers and clients of one test need both cores of a small machine, and a time-out that
# passes because a neighbour has the cores is a failure that says nothing.
pytest: $(STAMP) $(BENCH_STAMP)
	$(BIN)/pytest --ignore tests/unit $(ARGS)

format: $(STAMP) ## Format the code and sort its imports
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

schema: $(STAMP) ## Write the generated files anew: docs/schema, docs/logs.md, docs/metrics.md, the dashboards, parts of docs/events.md and of helm
	$(BIN)/python -m tests.unit.contract
	$(BIN)/python -m dashboards
	$(BIN)/python -m tests.install

# pip reads the universal lock; uv writes it. Hash-pinned, and no index line: where packages come from is the machine's business.
LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command "make lock"
lock: $(STAMP) ## Pin the dependencies anew: requirements{,-otel,-build}.lock (image), requirements-dev.lock (everything)
	$(BIN)/$(LOCK) pyproject.toml --upgrade --output-file requirements.lock
	$(BIN)/$(LOCK) --group build --upgrade --output-file requirements-build.lock
	$(BIN)/$(LOCK) pyproject.toml --constraint requirements.lock --extra otel --extra sandbox --extra dev --output-file requirements-dev.lock
	$(BIN)/$(LOCK) pyproject.toml --constraint requirements-dev.lock --extra otel --output-file requirements-otel.lock
	$(BIN)/$(LOCK) --group bench --constraint requirements-dev.lock --output-file requirements-bench.lock
	$(BIN)/$(LOCK) --group quix --output-file requirements-quix.lock

# A set's order is part of a history: it must be the same when the history is played again.
simulate: $(STAMP) ## Play random histories of the whole worker (300 in 2 min; SEEDS=300, or SEED=17 for one; ARGS=--mutants)
	PYTHONHASHSEED=0 $(BIN)/python -m verification.simulation $(if $(SEED),--seed $(SEED),--seeds $(or $(SEEDS),300)) $(ARGS)

fuzz: $(STAMP) ## Run a million generated values through the intake (ARGS="--count 5000000 --seed 2", or ARGS=--atheris)
	$(BIN)/python -m verification.fuzz $(ARGS)

# MUTANT=all switches each of five safeguards off, one by one. How long that takes and what it shows: docs/reliability.md.
chaos: $(STAMP) ## Kill, stop and cut off real workers and brokers, and reconcile (8 min; MINUTES=60 for a night, OUTAGE=600, MUTANT=all, SEED=17)
	$(BIN)/python -m verification.chaos $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(OUTAGE),--outage $(OUTAGE)) \
	  $(if $(MUTANT),$(if $(filter all,$(MUTANT)),--mutants,--mutant $(MUTANT))) $(ARGS)

runbook: $(STAMP) ## Make the faults of docs/runbook.md, run its commands, apply its fixes (6 min; ARGS="--scene outage")
	$(BIN)/python -m verification.runbook $(ARGS)

# On a base made by debootstrap, without Docker. As root of a Debian it installs what is missing by apt.
image: $(STAMP) ## Build the image, and run it on real Kafka as Kubernetes would (root of a Debian; 5 minutes)
	$(BIN)/pytest -m image tests/install $(ARGS)

# On Kubernetes built from Go modules, in namespaces of its own. As root of a Debian it installs what is missing by apt; Go must be there.
cluster: $(STAMP) ## Install the chart on a real one-node Kubernetes, and replace, kill and cut off its pods (root of a Debian; 8 min; first 20)
	$(BIN)/python -m verification.cluster $(ARGS)

# The tool has a version of its own, because its dependencies change what other tests' tools accept.
sbom: $(STAMP) ## List the packages of the image, as CycloneDX: dist/appmetrica-worker.cdx.json
	@mkdir -p dist
	$(BIN)/uv tool run --from cyclonedx-bom==7.5.0 cyclonedx-py requirements --output-reproducible --pyproject pyproject.toml \
	  --output-file dist/appmetrica-worker.cdx.json requirements.lock

# Beside what is locked for development: the peers, and py-spy.
$(BENCH_STAMP): requirements-bench.lock $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-bench.lock
	@touch $@

# In an environment of its own: it pins what others need in other versions.
$(QUIX)/.installed: requirements-quix.lock $(STAMP)
	$(PYTHON) -m venv --clear $(QUIX)
	$(QUIX)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-quix.lock
	@touch $@

bench: $(BENCH_STAMP) ## Measure speed on real Kafka: writes bench/RESULTS.md, plots, docs/performance.md (5 min, quiet machine)
	$(BIN)/python -m bench $(ARGS)
	$(BIN)/python -m tests.install

bench-full: $(BENCH_STAMP) $(QUIX)/.installed ## As bench, with all scenarios, millions of events and Quix Streams (1 h)
	$(BIN)/python -m bench --full --quix $(QUIX)/bin/python $(ARGS)
	$(BIN)/python -m tests.install

profile: $(BENCH_STAMP) ## Show where a running worker spends its time, by function (ARGS="--seconds 20")
	$(BIN)/python -m bench.profile $(ARGS)

bench-stages: $(STAMP) ## Measure each stage without a broker, in µs and in instructions (ARGS="--stage intake --shape rich")
	$(BIN)/python -m bench.stages $(ARGS)

clean: ## Remove everything that make has made here
	rm -rf $(VENV) $(QUIX) build dist .coverage .hypothesis .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	rm -f $(COMPILED_SOURCE:.pyx=.*.so)
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
