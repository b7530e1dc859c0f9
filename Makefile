# Needs GNU make, git and Python >= 3.11; everything else is installed into .venv by the first target that needs it.
# `make` alone lists the targets.

PYTHON ?= python3
VENV ?= .venv
# The CPU build of torch is installed first: on Linux the default build brings gigabytes of CUDA libraries.
# With an NVIDIA GPU: make TORCH_INDEX= ... takes the CUDA build of the same release.
TESTED_TORCH := torch==2.13.0
TORCH ?= $(TESTED_TORCH)
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
ARGS ?=
DATA ?=
VARY ?= transformers
# Tests run side by side, each file in one process, and no more processes than memory has room for (ARGS=-n0: one).
SIDE_BY_SIDE := -n logical --maxprocesses 4 --dist loadfile
ifeq ($(TORCH),1)
override TORCH := $(TESTED_TORCH)
override VARY += torch
endif

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
LOCKED := $(PIP) install --no-deps --require-hashes --no-build-isolation --use-pep517
OLD_PYTHON := Set PYTHON, for example: make PYTHON=python3.12 test

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test slow check lint types format docs links assets lessons real bench lock drift clean

help: ## List the targets
	@echo "Usage: make TARGET [ARGS='more arguments'] [PYTHON=python3.12]"; echo
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -e 's/:.*## /|/' | awk -F '|' '{ printf "  %-8s %s\n", $$1, $$2 }'

demo: $(VENV)/.runtime ## Install if needed, then run the demo
	@$(BIN)/textgym demo $(ARGS)

test: $(VENV)/.dev ## Install if needed, then run the tests (make test ARGS="-k rouge")
	$(BIN)/pytest -m "not slow" $(SIDE_BY_SIDE) --durations=20 $(ARGS)

slow: $(VENV)/.dev ## Run the tests of minutes that `make test` leaves out
	$(BIN)/pytest -m slow $(ARGS)

check: lint types test ## Everything the gate asks of a change: lint, format, types, doctests, tests

lint: $(VENV)/.dev ## Check style and formatting with ruff
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(VENV)/.dev ## Check the types with mypy --strict
	$(BIN)/mypy
	MYPYPATH=tools $(BIN)/mypy tools

format: $(VENV)/.dev ## Format the code and fix what ruff can fix
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

docs: $(VENV)/.dev ## Build the documentation site into build/docs; warnings are errors
	$(BIN)/sphinx-build -q -n -W --keep-going docs build/docs $(ARGS)
	@echo "Open build/docs/index.html"

links: $(VENV)/.dev ## Check the links of the site that lead elsewhere; needs a network
	$(BIN)/sphinx-build -q -b linkcheck -d build/docs/.doctrees docs build/links $(ARGS)

assets: $(VENV)/.dev ## Rebuild the models that ship with the package
	$(BIN)/python -P tools/build_assets.py $(ARGS)

lessons: $(VENV)/.dev ## Run the lessons and measure what they claim (ARGS="1 5" for some of them)
	$(BIN)/python -P tools/run_lessons.py $(ARGS)

real: $(VENV)/.runtime ## Real pretrained models (ARGS="similarity sentiment continue dialogue tables", DATA=folder of your files)
	$(BIN)/python tools/real_models.py $(if $(DATA),--data "$(DATA)") $(ARGS)

bench: $(VENV)/.runtime ## Run the benchmarks that need no GPU and nothing else installed
	@set -e; for name in ppo rollout scaling env; do $(BIN)/textgym bench $$name $(ARGS); done

lock: $(VENV)/.dev ## Write the lock files again, with the newest release of everything but torch
	$(BIN)/python tools/lock.py "$(TORCH)"

drift: $(VENV)/.dev ## Run tests with the newest, oldest and other releases, hours (TORCH=1: of torch too; FRESH=1: again)
	$(BIN)/python tools/drift.py --torch "$(TORCH)" --torch-index "$(TORCH_INDEX)" $(addprefix --vary=,$(VARY)) $(if $(FRESH),--fresh) $(ARGS)

clean: ## Remove .venv, caches and build products; runs/ stays
	rm -rf $(VENV) build dist textgym.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find textgym agents reward_models tests examples benchmarks -type d -name __pycache__ -prune -exec rm -rf {} +

# Stamps: pip runs again only after pyproject.toml or a lock file has changed.

$(VENV)/.python:
	@command -v $(PYTHON) >/dev/null || { echo "Expected Python >= 3.11, found no '$(PYTHON)'. $(OLD_PYTHON)" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Expected Python >= 3.11, got $$($(PYTHON) --version 2>&1). $(OLD_PYTHON)" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || \
		{ echo "Expected Python's venv module, which '$(PYTHON)' lacks. On Debian or Ubuntu: sudo apt install python3-venv" >&2; exit 1; }
	@echo "Creating $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# The lock files name every package but torch, with hashes, so nothing is left to pip's resolver, and what builds packages
# from source is the locked setuptools. The last line adds what only a CUDA build of torch needs; nothing to the CPU build.
$(VENV)/.runtime: pyproject.toml requirements.lock | $(VENV)/.python
	@echo "Installing textgym and what it needs into $(VENV) (once; a few minutes)"
	@$(PIP) install --no-deps --retries 1 $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX)) $(TORCH)
	@awk '/^[^ ]/ { keep = /^setuptools==/ } keep' requirements.lock > $(VENV)/setuptools.lock
	@$(LOCKED) -r $(VENV)/setuptools.lock
	@$(LOCKED) -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PIP) install $(TORCH)
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(VENV)/.runtime
	@echo "Installing the developer tools into $(VENV)"
	@$(LOCKED) -r requirements-dev.lock
	@$(BIN)/python -m pip --disable-pip-version-check check
	@touch $@
