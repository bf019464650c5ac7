# Every target sets up what it needs: a virtual environment in $(VENV), with rnnjax installed from this folder.
#
#   make test VENV=.venv-3.13 PYTHON=python3.13      another Python, in an environment of its own
#   make gradients ARGS="--cells lstm --lags 10 100"     options of the benchmark
#   make test ARGS="-k lstm"                             options of pytest

# The first of these that runs and is new enough makes the environment.
PYTHON = python3 python3.13 python3.12 python3.11
VENV = .venv
ARGS =

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help venv gradients test test-all lint peers clean
# Stamps are kept, though only the chain to a target needs them.
.SECONDARY:

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

venv: $(VENV)/.installed-test ## set up $(VENV) with all that the other targets need

gradients: $(VENV)/.installed-bench ## compare the gradient norms of RNN, LSTM and GRU over long time lags
	@$(VENV)/bin/python -m benchmarks gradients $(ARGS)

test: $(VENV)/.installed-test ## run the fast tests
	@echo "Running the tests"
	@$(VENV)/bin/python -m pytest $(ARGS)

test-all: $(VENV)/.installed-test ## run all tests, the slow ones and (after make peers) those against PyTorch too
	@echo "Running all tests"
	@$(VENV)/bin/python -m pytest -m "" $(ARGS)

lint: $(VENV)/.installed-test ## check style, format and types
	@echo "Checking style, format and types"
	@$(VENV)/bin/python -m ruff check .
	@$(VENV)/bin/python -m ruff format --check .
	@$(VENV)/bin/python -m mypy

peers: $(VENV)/.installed-peers ## install the libraries that tests and benchmarks compare with (PyTorch, Keras, Equinox, ...)

clean: ## remove caches, builds and $(VENV)
	@rm -rf build dist .mypy_cache .pytest_cache .ruff_cache
	@find rnnjax benchmarks tests -name __pycache__ -prune -exec rm -rf {} +
	@if [ -f "$(VENV)/pyvenv.cfg" ]; then rm -rf "$(VENV)"; fi

# --- the virtual environment; pip runs again only when pyproject.toml has changed --------------------------------------

$(VENV)/bin/python:
	@for python in $(PYTHON); do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "Creating $(VENV) with $$($$python --version)"; \
			exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo "rnnjax needs Python 3.11 or newer, and none of these is: $(PYTHON). Name one: make PYTHON=/path/to/python3" >&2; \
	exit 1

$(VENV)/.installed-%: pyproject.toml | $(VENV)/bin/python
	@echo "Installing rnnjax[$*] into $(VENV); the first time this takes a few minutes"
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@ $(if $(filter test,$*),$(VENV)/.installed-bench)
