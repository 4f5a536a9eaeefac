# Each target sets up what it needs in .venv: a fresh clone needs Python 3.11 or newer, make, and a package index.
PYTHON ?= python3
BIN := .venv/bin
export RAY_USAGE_STATS_ENABLED := 0
# What runs compiled code, which without bounds checks would read past an array in silence.
KERNELS := $(addprefix tests/dkvb/test_,codes.py descent.py baselines.py keys.py metrics.py neighbours.py projection.py redirection.py sweep.py tiles.py values.py)

.DEFAULT_GOAL := help
# What meets the libraries whose ranges pyproject.toml gives: torch, numba, Zarr, polars, Pillow; of Ray there is one minor version.
OLDEST := tests/store tests/jobs/run tests/jobs/query tests/cluster/test_private.py $(addprefix tests/dkvb/test_,bottleneck.py codes.py torch.py values.py)
.PHONY: help format demo docs test test-slow test-faults test-gpu test-oldest test-wheel test-all lint bench clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' Makefile | expand -t 14

format: .venv/.dev  ## format the code, sort imports, mend what can be mended
	$(BIN)/ruff check --quiet --fix .
	$(BIN)/ruff format --quiet .

demo: .venv/.demo  ## the whole pipeline on scikit-learn's digits, into dkvb-demo
	$(BIN)/dkvb demo --root dkvb-demo

docs: .venv/.docs  ## make a site of the pages, without a network, into build/site; a warning is an error
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going --jobs auto docs build/site

# Two processes take file after file in the order of their folders: acceptance, which takes longest, comes first.
test: lint  ## all checks, and the tests that take seconds
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder -m "not slow and not faults and not gpu and not network"

test-slow: .venv/.dev  ## tests that take minutes, and the kernels with bounds checks
	$(BIN)/pytest -q -n 2 --dist loadfile -m "slow and not faults and not gpu and not network"
	NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=.numba-checked $(BIN)/pytest -q -n 2 --dist loadfile $(KERNELS)

test-faults: .venv/.dev  ## kill, stop and cut off real processes, nodes, disks and servers
	$(BIN)/pytest -q -m "faults and not gpu and not network"

test-gpu: .venv/.dev  ## where there is a CUDA device: tests that need one, and equality and speed of what it computes
	$(BIN)/pytest -q -m "gpu and not network"
	$(BIN)/python -m tests.gpu.check

test-oldest: .venv-oldest/.done  ## the tests of what uses other libraries, with the oldest versions that pyproject.toml allows
	.venv-oldest/bin/pytest -q -o filterwarnings=default -m "not slow and not faults and not gpu and not network and not ray" $(OLDEST)

test-wheel: .venv/.dev  ## build the wheel, install it into an empty environment, use it from an empty folder
	$(BIN)/python -m tests.wheel

test-all: test test-slow test-faults  ## all of these

lint: .venv/.dev  ## ruff, mypy, import-linter
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.bench  ## time every hot path, at a small size
	$(BIN)/python tests/benchmarks/table.py --size quick

.venv/.bench: .venv/.dev
	$(BIN)/pip install --quiet --editable ".[all,docs,dev,bench]"
	touch $@

.venv/.demo: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[cluster,report]"
	touch $@

.venv/.docs: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[docs]"
	touch $@

.venv/.dev: pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[all,docs,dev]"
	touch $@ .venv/.demo .venv/.docs

.venv-oldest/.done: pyproject.toml tests/oldest.py
	test -x .venv-oldest/bin/python || $(PYTHON) -m venv .venv-oldest
	$(PYTHON) tests/oldest.py > .venv-oldest/constraints.txt
	.venv-oldest/bin/pip install --quiet --constraint .venv-oldest/constraints.txt --editable ".[cluster,report,sign,sql,xarray,dev]"
	touch $@

clean:  ## remove what was built
	rm -rf .venv .venv-oldest .numba-checked dkvb-demo build *.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
