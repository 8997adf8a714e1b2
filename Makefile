# Each target sets up its own environment; only Python >= 3.11 and make are assumed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Without Node the interop tests skip and say so.
NPM    := $(shell command -v npm 2>/dev/null)

.PHONY: demo test lint bench clean

$(VENV)/.demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[demo]"
	touch $@

$(VENV)/.test: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --editable . --group test
	touch $@

$(VENV)/.lint: $(VENV)/.demo
	$(BIN)/python -m pip install --quiet --editable . --group lint
	touch $@

tests/interop/node_modules: tests/interop/package-lock.json
ifneq ($(NPM),)
	cd tests/interop && npm ci --no-audit --no-fund --silent
	touch $@
endif

demo: $(VENV)/.demo
	$(BIN)/guardrail demo

test: $(VENV)/.test $(if $(NPM),tests/interop/node_modules)
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --warnings

bench: $(VENV)/.test
	$(BIN)/python benchmarks/bench_import.py
	$(BIN)/python benchmarks/bench_flood.py

clean:
	rm -rf $(VENV) tests/interop/node_modules .coverage* .mypy_cache .pytest_cache .ruff_cache dist
