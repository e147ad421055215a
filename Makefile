# Every target does its own set-up: a virtual environment in .venv, uv in it, and the package with its
# development tools. The machine needs python3 (3.11 or newer), make and access to a package index.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
REPORTS := build/reports

# Where this forbids Python to keep compiled modules, every process that a test starts compiles torch anew, for seconds.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help demo test long check lint format types imports bench site clean

help: ## list the targets
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 18

demo: $(READY) ## train, evaluate and predict on a small synthetic data set
	$(BIN)/vitseg demo

test: $(READY) ## run the fast tests, then the slow ones, in two processes
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -m "not slow" -n 2 --dist loadfile --junitxml=$(REPORTS)/fast.xml
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -m "slow and not long" -n 2 --dist loadfile --durations=30 --junitxml=$(REPORTS)/slow.xml || test $$? -eq 5  # 5: there is none

long: $(READY) ## run the tests that take minutes: kills, sharded trainings, compilers, clusters
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -rs -m long -n 2 --dist loadfile --durations=30 --junitxml=$(REPORTS)/long.xml

check: lint types imports ## run lint, types and imports

lint: $(READY) ## check style and formatting
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## format the code and mend what can be mended
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

types: $(READY) ## check the types
	$(BIN)/pyright --pythonpath $(BIN)/python

imports: $(READY) ## check which package imports which
	$(BIN)/lint-imports

# Tables and pictures are of trained models, which have to be named.
BENCHMARKS := $(filter-out %_tables.py %_pictures.py %models_time.py,$(wildcard benchmarks/[a-z]*.py))

bench: $(READY) ## run the benchmarks, one after another
	@set -e; for script in $(BENCHMARKS); do \
		echo "== $$script"; $(BIN)/python "$$script"; \
	done

site: $(READY) ## build the documents as a site into build/site; every warning is an error
	$(BIN)/python docs/_site/draw.py
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -d build/site-cache -b html docs build/site
	@echo "pages: build/site/index.html"

clean: ## remove the environment, caches and build outputs; runs/ stays
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .import_linter_cache
	find src tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "vitseg needs Python 3.11 or newer, but $(PYTHON) is" \
		"$$($(PYTHON) --version 2>&1). Name another one: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu install the missing part:" \
		"apt-get install python3-venv" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --python $(BIN)/python -e '.[dev]'
	# Without what it asks for besides, which includes an older numpy: the tests read brush strokes with it.
	$(BIN)/uv pip install --python $(BIN)/python --no-deps 'label-studio-sdk>=2.0'
	@touch $@
