# `make help` says what there is. Needs Python 3.11 or newer, git and make; the rest goes into .venv.

PYTHON ?= python3
VENV ?= .venv
OTHER_PYTHONS := 3.12 3.13

bin := $(VENV)/bin
# The stamps name the place of the checkout: a moved one installs itself anew.
place := $(shell pwd | cksum | cut -d ' ' -f 1)
run_stamp := $(VENV)/.installed-$(place)
dev_stamp := $(VENV)/.installed-dev-$(place)
bench_stamp := $(VENV)/.installed-bench-$(place)
official_stamp := $(VENV)/.installed-official-$(place)
pip := $(bin)/python -m pip install --quiet --disable-pip-version-check --no-input
# Never ask the network for a newer pyright: it is the one that pip chose.
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo test test-all test-official check format soak bench bench-quick bench-tests coverage clean venv

help: ## say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' Makefile

demo: $(run_stamp) ## run three real background commands on the embedded agent, live
	@$(bin)/python docs/examples/three_commands.py

# Three on two cores: many tests wait for processes.
test: $(run_stamp) ## run the test suite (ARGS="-k name" narrows it)
	@$(bin)/python -m pytest --numprocesses 3 --dist worksteal $(ARGS)

test-all: test ## the same under every other supported Python found on this machine
	@for version in $(OTHER_PYTHONS); do \
	  if python=$$(tools/find_python.sh $$version); then \
	    echo "== Python $$version"; \
	    $(MAKE) --no-print-directory test PYTHON="$$python" VENV=.venv-$$version || exit 1; \
	  else \
	    echo "== Python $$version: not on this machine, skipped"; \
	  fi; \
	done

# HopX's Python clients close no connection, and call what websockets is about to drop.
THEIR_HABITS := $(addprefix -W ignore::,ResourceWarning DeprecationWarning pytest.PytestUnraisableExceptionWarning)

test-official: $(official_stamp) ## HopX's own clients, and schemathesis, against the local server
	@$(bin)/python -m pytest -m official tests/official $(THEIR_HABITS) $(ARGS)

check: $(dev_stamp) ## lint, format, types, structure
	@$(bin)/python -m ruff check
	@$(bin)/python -m ruff format --check
	@$(bin)/python -m mypy
	@$(bin)/python -m pyright --pythonpath $(bin)/python
	@$(bin)/python -m pytest -q tests/test_structure.py

format: $(dev_stamp) ## let ruff put the code into shape
	@$(bin)/python -m ruff check --fix-only --quiet
	@$(bin)/python -m ruff format

soak: $(run_stamp) ## the tests that run for minutes
	@$(bin)/python -m pytest -m soak $(ARGS)

bench: $(bench_stamp) ## measure, beside the peers, and write benchmarks/results.md (20 minutes)
	@$(bin)/python -m benchmarks $(ARGS)

bench-quick: $(bench_stamp) ## only guard against regressions (3 minutes)
	@$(bin)/python -m benchmarks --quick $(ARGS)

bench-tests: $(run_stamp) ## the tests that measure
	@$(bin)/python -m pytest -m bench $(ARGS)

coverage: $(run_stamp) ## the suite with branch coverage, the agent's processes included
	@$(bin)/python -m coverage erase
	@$(bin)/python -m coverage run -m pytest -q
	@$(bin)/python -m coverage combine --quiet
	@$(bin)/python -m coverage report --skip-covered

venv: $(dev_stamp) ## install everything into .venv, run nothing

$(run_stamp): pyproject.toml
	@tools/check_python.sh "$(PYTHON)"
	@$(bin)/python -c '' 2>/dev/null || { rm -rf "$(VENV)" && "$(PYTHON)" -m venv "$(VENV)"; }
	@echo "installing hopx-async into $(VENV) ..."
	@$(pip) --editable '.[cli,test]'
	@rm -f $(VENV)/.installed-* && touch $@

$(dev_stamp): $(run_stamp)
	@echo "installing the linters and type checkers into $(VENV) ..."
	@$(pip) --editable '.[dev]'
	@touch $@

$(bench_stamp): $(run_stamp)
	@echo "installing the peers for the benchmarks into $(VENV) ..."
	@$(pip) --editable '.[bench]'
	@touch $@

# The JavaScript client goes into the environment, too: nothing of it lies in the tree.
$(official_stamp): $(run_stamp) tests/official/js/package.json
	@echo "installing HopX's own clients into $(VENV) ..."
	@$(pip) --editable '.[official]'
	@mkdir -p $(VENV)/official && cp tests/official/js/package.json $(VENV)/official/
	@if command -v npm >/dev/null; then \
	  cd $(VENV)/official && npm install --silent --no-package-lock --no-audit --no-fund; \
	else \
	  echo "*** npm is not here: the JavaScript client is not installed ***" >&2; \
	fi
	@touch $@

clean: ## remove what make and the tools have made
	rm -rf .venv .venv-* build dist .coverage .coverage.* htmlcov .hypothesis
	find . -name .git -prune -o -type d \( -name __pycache__ -o -name '.*_cache' \) \
	  -prune -exec rm -rf {} +
