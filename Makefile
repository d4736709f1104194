# Every target sets itself up: all it needs is make and Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready

.PHONY: demo test lint audit bench bench-operators bench-repartition bench-keys bench-reads compare-faust reference notebook \
  recording live-page dashboards docs-check mutants mutants-commit fuzz soak lock clean

demo: $(READY)
	$(BIN)/streamfold demo $(if $(SECONDS),--seconds $(SECONDS))

# In two lanes: most tests wait, for a broker or for a worker.
test: $(READY)
	$(BIN)/pytest --numprocesses 2

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# What is installed is what was looked at: every package and jar locked by version and hash. Needs no network.
audit: $(READY)
	$(BIN)/python -m scripts.audit

bench: $(READY)
	$(BIN)/python -m bench

# One thread: what others of the matrix library do while they wait would count as CPU time of the fold.
bench-operators: $(READY)
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m bench.operators

# The same table directly and through a hop, alternately: what repartitioning costs.
bench-repartition: $(READY)
	$(BIN)/python -m bench.repartition $(if $(EVENTS),--events $(EVENTS))

# Very many keys in one worker: memory, restore, limit. Ten million take 4 GB beside Kafka, 8 GB of disk and some minutes.
bench-keys: $(READY)
	$(BIN)/python -m bench.keys $(if $(KEYS),--keys $(KEYS))

# Readers over HTTP beside half the largest load: the lag without them, with them elsewhere, and with them, by turns.
bench-reads: $(READY)
	$(BIN)/python -m bench.reads $(if $(READS),--reads $(READS))

# The same faults for stock Faust and for streamfold, counted: make compare-faust SEED=7. Takes about six minutes.
compare-faust: $(READY)
	$(BIN)/python -m bench.faust_comparison $(if $(SEED),--seed $(SEED))

# Pages of the documentation that are made from the code.
reference: $(READY)
	$(BIN)/python -m scripts.reference
	$(BIN)/python -m scripts.pictures

# The example notebook with what its cells give: on a Kafka of its own, without Jupyter.
notebook: $(READY)
	$(BIN)/python -m scripts.notebook

# The pictures of the terminal: commands that are asked while games go through a Kafka of their own. Best on an idle machine.
recording: $(READY)
	$(BIN)/python -m scripts.recording

# Pictures of the live page, of the demonstration in a Chromium.
live-page: $(READY)
	$(BIN)/python -m scripts.pictures.live_page

# What Grafana and Prometheus load, made from the code too.
dashboards: $(READY)
	$(BIN)/python -m scripts.dashboards

docs-check: $(READY)
	$(BIN)/pytest -m docs

# What no test notices: make mutants FILES="operators/decays/ewma.py" PER_FILE=50 SEED=2 TESTS=tests/operators
mutants: $(READY)
	OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 $(BIN)/python -m scripts.mutants $(FILES) $(if $(TESTS),--tests '$(TESTS)') \
	  $(if $(PER_FILE),--per-file $(PER_FILE)) $(if $(SEED),--seed $(SEED)) $(if $(REPORT),--report $(REPORT))

# The same of what commits and restores, on a broker: the tests' own, or that of STREAMFOLD_TEST_BROKER.
KAFKA := pipeline/edges/kafka
COMMITTING := $(KAFKA)/authority.py $(KAFKA)/commit.py $(KAFKA)/producer.py $(KAFKA)/restore.py \
  $(KAFKA)/sending.py $(KAFKA)/task.py $(KAFKA)/troubles.py $(KAFKA)/world.py
mutants-commit:
	$(MAKE) mutants PER_FILE=$(or $(PER_FILE),12) FILES="pipeline/core/changelog.py pipeline/core/partition.py $(COMMITTING)" \
	  TESTS="$(addprefix tests/core/test_,partition.py state.py lifetime.py changelog.py lost_changelog.py \
	  dedupe.py dedupe_in_a_table.py own_operators.py) tests/kafka/test_authority.py tests/kafka/test_turns.py \
	  $(wildcard tests/kafka/test_rules_*.py) $(wildcard tests/kafka/test_producer*.py) tests/kafka/test_edge_faults.py"

# Inputs that nobody thought of: make fuzz WHAT=decoder MINUTES=10 SEED=1. Without WHAT all targets, one after the other.
fuzz: $(READY) .fuzz/lib
	PYTHONPATH=.fuzz/lib $(BIN)/python -m tests.fuzz $(WHAT) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

.fuzz/lib: tests/fuzz/requirements.lock $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --upgrade --target $@ -r $<
	@touch $@

# The long form of the fault runs, with its report: make soak MINUTES=30 SEED=7 REPORT=docs/soak.md
soak: $(READY)
	MINUTES=$(MINUTES) SEED=$(SEED) $(BIN)/pytest -m soak --timeout 0

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "streamfold needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv || \
	  { echo "The venv module is missing: install your system's package for it (python3-venv)" >&2; exit 2; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

# The locks hold names, versions and hashes only: where packages come from is the installing machine's affair. Those of the
# image are parts of the large one.
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
  --no-emit-find-links --quiet
lock: $(READY)
	$(COMPILE) pyproject.toml --extra embedded --extra dev --upgrade --output-file requirements.lock
	$(COMPILE) pyproject.toml --no-annotate --constraint requirements.lock --upgrade --output-file deploy/docker/run.lock
	echo hatchling | $(COMPILE) - --no-annotate --constraint requirements.lock --upgrade --output-file deploy/docker/build.lock
	$(BIN)/python scripts/lock_kafka.py

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis .fuzz .mutants .streamfold
	find operators pipeline tests bench examples -type d -name __pycache__ -prune -exec rm -rf {} +
