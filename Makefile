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
.PHONY: help demo test long check lint format types imports bench site dist sbom lowest clean

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

# Tables and pictures are of trained models, which have to be named; others need a model, data or a folder, take an hour
# (serve_soak.py) or measure nothing (recipe_figures.py).
NEED_ARGUMENTS := %serve_soak.py %recipe_figures.py %_tables.py %_pictures.py %models_time.py %serve_load.py %sparse_labels.py %suggest_study.py
BENCHMARKS := $(filter-out $(NEED_ARGUMENTS),$(wildcard benchmarks/[a-z]*.py))

bench: $(READY) ## run the benchmarks that need no arguments, one after another
	@set -e; for script in $(BENCHMARKS); do \
		echo "== $$script"; $(BIN)/python "$$script"; \
	done

site: $(READY) ## build the documents as a site into build/site; every warning is an error
	$(BIN)/python docs/_site/draw.py
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going -d build/site-cache -b html docs build/site
	@echo "pages: build/site/index.html"

dist: $(READY) ## build wheel and sdist, and check what is in them
	rm -rf dist
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist
	rm -f dist/.gitignore
	$(BIN)/twine check --strict dist/*
	VITSEG_DIST=$(CURDIR)/dist $(BIN)/python -m pytest -rs tests/test_dist.py

sbom: ## list all that the wheel in dist/ installs, as CycloneDX
	rm -rf build/bare
	$(PYTHON) -m venv build/bare
	$(PYTHON) -m venv build/bare-tools
	build/bare-tools/bin/python -m pip install --quiet --disable-pip-version-check uv 'cyclonedx-bom>=7'
	env -u UV_TORCH_BACKEND build/bare-tools/bin/uv pip install --python build/bare/bin/python dist/*.whl
	build/bare-tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
		--output-file build/sbom.cdx.json build/bare/bin/python

# The lowest versions that pyproject.toml allows: of the package alone, then with the server, then with all extras, since
# one extra may ask for more of what the package or another one asks for, too.
LOWEST := build/lowest
LOWEST_INSTALL = $(LOWEST)/bin/uv pip install --quiet --python $(LOWEST)/bin/python --resolution lowest-direct
LOWEST_TOOLS := 'pytest>=8.3' 'pytest-xdist>=3.6' 'beartype>=0.20' 'psutil>=5.9' 'httpx>=0.27' 'fvcore>=0.1.5.post20221221'
LOWEST_TEST = OMP_NUM_THREADS=1 $(LOWEST)/bin/python -m pytest -q -rs -n 2 --dist loadfile -p no:cacheprovider
LOWEST_CORE := tests/contracts/test_imports.py tests/test_hub.py tests/test_config.py tests/test_outputs.py tests/losses \
	tests/metrics tests/checkpoint/test_hub.py $(addprefix tests/cli/test_,main.py frame.py recipes.py bad_input.py) \
	$(addprefix tests/inference/test_,predictor.py operations.py precision.py image_source.py profile.py) \
	$(addprefix tests/training/test_,optimizer.py state.py recipe_runs.py parts.py)
# Of the server all but those that need further tools: kubernetes-validate, jsonschema, tritonclient.
LOWEST_SERVE := tests/serve $(addprefix --ignore tests/serve/test_,deploy.py described.py open_inference.py)
LOWEST_EXTRAS := tests/integrations tests/runtimes tests/data/shards tests/data/formats/test_huggingface.py \
	tests/inference/test_video.py tests/cli/test_video.py tests/cli/test_bands.py tests/images/test_windows.py \
	$(addprefix tests/export/test_,parity.py graph.py files.py) $(addprefix tests/training/test_,loggers.py lowbit.py) \
	tests/images/test_reader.py tests/serve/test_ray.py \
	--deselect 'tests/images/test_reader.py::test_colour_spaces_are_read_alike[YCbCr]'  # Pillow 12.3 fails to read it back
EXTRAS := serve,export,quantize,huggingface,geo,heif,video,transformers,cvat,lowbit,shards,ray,wandb,mlflow

lowest: ## try the lowest versions of all dependencies, in an environment of its own
	rm -rf $(LOWEST)
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(LOWEST_INSTALL) -e . $(LOWEST_TOOLS)
	$(LOWEST)/bin/vitseg demo --out $(LOWEST)/demo
	$(LOWEST_TEST) -m "not slow" $(LOWEST_CORE)
	$(LOWEST_INSTALL) -e '.[serve]' $(LOWEST_TOOLS)
	$(LOWEST_TEST) -m "not slow" $(LOWEST_SERVE)
	$(LOWEST_INSTALL) -e '.[$(EXTRAS)]' $(LOWEST_TOOLS)
	$(LOWEST_TEST) -m "not long" $(LOWEST_EXTRAS)

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
