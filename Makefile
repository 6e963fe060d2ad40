# Everything a developer runs. Needs Python 3.11+ with its venv module; the rest is installed into .venv.
#   make          the developer loop: format, lint, types, imports, fast tests
#   make setup    build the environment
#   make demo     the gateway before a practice upstream, nothing to configure (ARGS=--once exits after one request)
#   make test     what has to pass before a merge
#   make deep     the long properties, the soak and the races for longer, a smoke run of every fuzz target (FUZZ_SECONDS each)
#   make live     the tests before a real LiteLLM proxy, which is installed into an environment of its own
#   make bench    measure; make docs regenerates the generated pages; make coverage reports branch coverage

SHELL := /bin/sh
.DELETE_ON_ERROR:
.DEFAULT_GOAL := loop

BIN := .venv/bin
PYTHONS := python3 python3.14 python3.13 python3.12 python3.11 python
WORKERS ?= 2
FUZZ_SECONDS ?= 20
SOAK_REQUESTS ?= 50000
REFRESH_ROUNDS ?= 200
ARGS ?=
TESTS ?=
BUILD := build

# Each environment step leaves a stamp, so it runs once and again when pyproject.toml changes.
RUNTIME := .venv/.stamp-runtime
DEVELOPER := .venv/.stamp-developer
PREVIOUS_SDK := .venv/previous-anthropic/.stamp
DEEP := .venv/.stamp-deep
LITELLM := $(BUILD)/litellm-venv/.stamp

.PHONY: loop setup demo test lint format types imports check-format spelling pytest coverage deep properties long live fuzz bench docs wheel clean

loop: format lint types imports
	$(BIN)/python -m pytest -n $(WORKERS) -m "not slow and not litellm" $(TESTS)

setup: $(DEVELOPER) $(PREVIOUS_SDK)

demo: $(RUNTIME)
	$(BIN)/link-assistant-router demo $(ARGS)

test: check-format lint types imports pytest

# --- the parts of `make test` ---------------------------------------------------------------------------------------

format: setup
	$(BIN)/ruff check --quiet --fix-only .
	$(BIN)/ruff format .

check-format: setup
	$(BIN)/ruff format --check .

lint: setup
	$(BIN)/ruff check .
	$(BIN)/codespell

types: setup
	$(BIN)/mypy

imports: setup
	$(BIN)/lint-imports --no-logo

pytest: setup
	HYPOTHESIS_PROFILE=ci $(BIN)/python -bb -m pytest -n $(WORKERS) -m "not litellm" $(TESTS)

coverage: setup
	$(BIN)/python -m coverage run -m pytest -p no:randomly $(TESTS)
	$(BIN)/python -m coverage report --skip-covered --show-missing

# --- the long runs --------------------------------------------------------------------------------------------------

deep: properties long fuzz

properties: setup
	HYPOTHESIS_PROFILE=deep $(BIN)/python -bb -m pytest -n $(WORKERS) -m hypothesis $(TESTS)

# More of what `make test` does a little of; the seed is in the name of the test.
long: setup
	SOAK_REQUESTS=$(SOAK_REQUESTS) SOAK_SEED=$$(date +%s) REFRESH_ROUNDS=$(REFRESH_ROUNDS) $(BIN)/python -bb -m pytest \
	    -n $(WORKERS) tests/transports/test_soak.py tests/live/test_refresh_race.py

live: setup $(LITELLM)
	$(BIN)/python -bb -m pytest -m litellm tests/live/litellm $(TESTS)

# A copy of the corpus is what grows; a crash is written to build/fuzz and belongs into the corpus with a named test.
fuzz: $(DEEP)
	@mkdir -p $(BUILD)/fuzz
	@for file in fuzz/fuzz_*.py; do \
	    module=$$(basename "$$file" .py); \
	    name=$${module#fuzz_}; \
	    log="$(BUILD)/fuzz/$$name.log"; \
	    corpus=$$(mktemp -d); \
	    if [ -d "fuzz/corpus/$$name" ]; then cp -R "fuzz/corpus/$$name/." "$$corpus/"; fi; \
	    echo "fuzz $$name for $(FUZZ_SECONDS) s"; \
	    $(BIN)/python -m "fuzz.$$module" -max_total_time=$(FUZZ_SECONDS) -timeout=30 -print_final_stats=1 \
	        -artifact_prefix="$(BUILD)/fuzz/$$name-" "$$corpus" > "$$log" 2>&1; \
	    status=$$?; \
	    rm -rf "$$corpus"; \
	    grep "^Done" "$$log"; \
	    if [ $$status -ne 0 ]; then tail -n 60 "$$log"; exit $$status; fi; \
	done

bench: setup
	$(BIN)/python -m benchmarks $(ARGS)

docs: setup
	$(BIN)/python -m cli.documentation

wheel: setup
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:
	rm -rf $(BUILD) dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage

# --- the environment ------------------------------------------------------------------------------------------------

.venv/bin/python:
	@for candidate in $(PYTHON) $(PYTHONS); do \
	    if "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then chosen=$$candidate; break; fi; \
	done; \
	if [ -z "$$chosen" ]; then \
	    echo "Python 3.11 or newer is needed; none of these is: $(PYTHON) $(PYTHONS). Name one with make PYTHON=/path/to/python3." >&2; \
	    exit 1; \
	fi; \
	"$$chosen" -m venv .venv || { \
	    rm -rf .venv; \
	    echo "$$chosen cannot make a virtual environment; on Debian and Ubuntu install python3-venv." >&2; \
	    exit 1; \
	}

$(RUNTIME): pyproject.toml | .venv/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

# Dependency groups (PEP 735) need pip 25.1.
$(DEVELOPER): pyproject.toml $(RUNTIME)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --group dev
	@touch $@

$(DEEP): pyproject.toml $(DEVELOPER)
	$(BIN)/python -m pip install --quiet --group deep
	@touch $@

# The SDK major before the current one authenticates differently; tests run it in a child with this folder on PYTHONPATH.
$(PREVIOUS_SDK): $(DEVELOPER)
	rm -rf $(@D)
	$(BIN)/python -m pip install --quiet --target $(@D) "anthropic>=1,<2"
	@touch $@

$(LITELLM): tests/live/litellm/proxy.sh | $(DEVELOPER)
	PYTHON=$(BIN)/python sh tests/live/litellm/proxy.sh install
	@touch $@
