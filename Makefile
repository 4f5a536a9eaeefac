# Each target sets up what it needs in .venv: a fresh clone needs Python 3.11 or newer, make, and a package index.
PYTHON ?= python3
BIN := .venv/bin
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: demo test test-slow test-all lint bench clean

demo: .venv/.demo
	$(BIN)/dkvb demo --root dkvb-demo

test: lint
	$(BIN)/pytest -q -m "not slow and not gpu and not network"

test-slow: .venv/.dev
	$(BIN)/pytest -q -m "slow and not gpu and not network"

test-all: test test-slow

lint: .venv/.dev
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev
	for script in tests/benchmarks/bench_*.py; do $(BIN)/python $$script --size quick || exit 1; done

.venv/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[report]"
	touch $@

.venv/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[report,dev]"
	touch $@ .venv/.demo

clean:
	rm -rf .venv dkvb-demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
