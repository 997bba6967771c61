# The commands of a developer's day; `make help` lists them. Each also runs by hand as it stands here.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEEDS ?= 2000
SOAK_MINUTES ?= 60

.DEFAULT_GOAL := help
.PHONY: help install test lint demo bench simulate soak lock clean

help: ## Show this list
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{ printf "  %-10s %s\n", $$1, $$2 }'

install: $(VENV)/installed.lock ## Make the environment: the locked packages, and this checkout as it is

$(VENV)/installed.lock: requirements-dev.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q -r requirements-dev.lock
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	cp requirements-dev.lock $@

test: ## Run the whole gate: tests, house rules, linters
	PYTHON=$(PYTHON) VENV=$(VENV) .ci/run

lint: install ## Run the linters alone
	$(BIN)/ruff check .
	$(BIN)/mypy

demo: install ## Keep a demo fleet in sync with a paper exchange for a minute
	$(BIN)/fleetsync run --for 60

# Version 3 has the import name in the environment; what version 4 needs besides is there for others.
build/apscheduler4:
	$(BIN)/python -m pip install -q --no-deps --target $@ 'apscheduler==4.0.0a6' 'tenacity>=9,<10' 'tzlocal>=5,<6'

bench: install build/apscheduler4 ## Measure: parts, the whole, growth and freshness, into bench/results (the better part of an hour)
	$(BIN)/python -m pytest bench -q --benchmark-disable-gc
	$(BIN)/python -m bench.growth
	$(BIN)/python -m bench.bench_freshness
	$(BIN)/python -m bench.bench_system
	$(BIN)/python -m bench.table

simulate: install ## Run thousands of simulated fleets with faults (SEEDS=2000)
	$(BIN)/fleetsync simulate --seeds $(SEEDS)

soak: install ## Run what takes hours: full load with faults on real processes (SOAK_MINUTES=60)
	SOAK_MINUTES=$(SOAK_MINUTES) $(BIN)/python -m pytest tests -m soak -s
	FUZZ=30 $(BIN)/python -m pytest tests/unit -k "fuzz or wire"

# Universal: one lock for the Pythons and platforms that we support. The build backend is in, so that an installation
# needs nothing that is not pinned; an editable one needs `editables` as well.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-index-url --no-emit-find-links
lock: ## Make both locks again from pyproject.toml (needs uv)
	echo 'hatchling>=1.27' | $(COMPILE) $(UPGRADE) -o requirements.lock pyproject.toml -
	echo 'editables>=0.5' | $(COMPILE) $(UPGRADE) -o requirements-dev.lock --extra dev pyproject.toml -

clean: ## Remove what was built and cached, not the environment
	rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find engine adapters tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
