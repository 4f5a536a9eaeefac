# Each target sets up what it needs in .venv: a fresh clone needs Python 3.11 or newer, make, and a package index.
PYTHON ?= python3
BIN := .venv/bin
export RAY_USAGE_STATS_ENABLED := 0
# What runs compiled code, which without bounds checks would read past an array in silence.
KERNELS := $(addprefix tests/dkvb/test_,codes.py descent.py baselines.py keys.py metrics.py neighbours.py projection.py redirection.py sweep.py tiles.py values.py)

.DEFAULT_GOAL := help
.PHONY: help format demo test test-slow test-faults test-all lint bench clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | expand -t 14

format: .venv/.dev  ## format the code, sort imports, mend what can be mended
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

demo: .venv/.demo  ## the whole pipeline on scikit-learn's digits, into dkvb-demo
	$(BIN)/dkvb demo --root dkvb-demo

# Two processes take file after file in the order of their folders: acceptance, which takes longest, comes first.
test: lint  ## all checks, and the tests that take seconds
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not faults and not gpu and not network"

test-slow: .venv/.dev  ## tests that take minutes, and the kernels with bounds checks
	$(BIN)/pytest -q -m "slow and not faults and not gpu and not network"
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=.numba-checked $(BIN)/pytest -q $(KERNELS)

test-faults: .venv/.dev  ## kill, stop and cut off real processes, nodes, disks and servers
	$(BIN)/pytest -q -m "faults and not gpu and not network"

test-all: test test-slow test-faults  ## all of these

lint: .venv/.dev  ## ruff, mypy, import-linter
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.bench  ## time every hot path, at a small size
	$(BIN)/python tests/benchmarks/table.py --size quick

.venv/.bench: .venv/.dev
	$(BIN)/pip install --quiet --editable ".[report,s3,sql,sign,xarray,dev,bench]"
	touch $@

.venv/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[report]"
	touch $@

.venv/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[report,s3,sql,sign,xarray,dev]"
	touch $@ .venv/.demo

clean:  ## remove what was built
	rm -rf .venv .numba-checked dkvb-demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
