# Everything a checkout needs, with Python 3.11 or newer and make alone.

PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python

# A process for each processor, each with a PostgreSQL server of its own: more than four have little left to share.
SIDE_BY_SIDE ?= -n auto --maxprocesses 4 --dist worksteal

# The tests start Python some hundreds of times: what it compiles once is kept, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

SECONDS ?= 60

# The tests on whose way the pictures in the documentation are taken.
PICTURED := others_see_at_once or parked_is_mended or looked_at_as_it_was or group_is_stopped or told_across

.DEFAULT_GOAL := help
.PHONY: help test check pictures demo tour bench chaos fmt clean

help: ## List these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile

test: check ## Check everything: format, lint, types, tests; what the browser saw is in build/screenshots
	SOURCED_SCREENSHOTS=build/screenshots $(RUN) -m pytest $(SIDE_BY_SIDE)

pictures: $(VENV)/.dev-installed ## Take the pictures in the documentation anew
	SOURCED_SCREENSHOTS=build/screenshots $(RUN) -m pytest -q tests/browser -k "$(PICTURED)"
	cp $(foreach each,$(notdir $(wildcard docs/pictures/*.png)),build/screenshots/$(each)) docs/pictures/

check: $(VENV)/.dev-installed ## Format, lint and types, without the tests
	$(RUN) -m ruff format --check .
	$(RUN) -m ruff check .
	$(RUN) -m mypy
	$(RUN) -m pyright --pythonpath $(RUN)

demo: $(or $(wildcard $(VENV)/.dev-installed),$(VENV)/.demo-installed) ## Run the TODO application; without a terminal, a visit to it
	@if [ -t 1 ]; then $(RUN) -m sourced demo; else $(RUN) -m sourced demo --visit; fi

tour: $(or $(wildcard $(VENV)/.dev-installed),$(VENV)/.core-installed) ## Walk through the shopping cart example; the core is all it needs
	$(RUN) examples/cart.py

bench: $(VENV)/.bench-installed ## Compare Sourced with its neighbours, in memory, on SQLite and on PostgreSQL
	$(RUN) -m benchmarks.compare
	$(RUN) -m benchmarks.stored
	$(RUN) -m benchmarks.running
	$(RUN) -m benchmarks.pages

chaos: $(VENV)/.dev-installed ## Kill workers and crash databases for a minute each, and see whether anything is lost
	$(RUN) -m tests.chaos.run --seconds $(SECONDS) $(if $(SEED),--seed $(SEED))

fmt: $(VENV)/.dev-installed ## Format, and mend what lint can mend
	$(RUN) -m ruff check --fix-only --quiet .
	$(RUN) -m ruff format .

clean: ## Remove the environment, caches and builds
	rm -rf $(VENV) .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# A stamp older than pyproject.toml installs again; one set of extras at a time.
$(VENV)/.core-installed: pyproject.toml | $(VENV)/bin/pip
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.%-installed: pyproject.toml | $(VENV)/bin/pip
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# pip is the last thing a new environment gets, so half an environment is made again.
$(VENV)/bin/pip:
	@command -v $(PYTHON) >/dev/null || { echo "$(PYTHON) is not on PATH; name another: make PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Sourced needs Python 3.11 or newer, $(PYTHON) is %d.%d; name another: make PYTHON=python3.13" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
