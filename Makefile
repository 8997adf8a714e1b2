# Each target sets up its own environment; only Python >= 3.11 and make are assumed.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# Without Node the interop tests skip and say so.
NPM    := $(shell command -v npm 2>/dev/null)

.PHONY: demo test test-frameworks lint bench soak clean

# What depends on the frameworks' inner life. The whole suite runs on whatever .venv has.
FRAMEWORK_TESTS := tests/test_routing.py tests/test_route_table.py tests/test_route_trees.py \
	tests/test_middleware.py tests/test_fastapi_module.py tests/test_held_out.py tests/test_held_out_applications.py \
	tests/frameworks \
	$(addprefix --ignore=tests/frameworks/test_,litestar.py quart.py django.py raw_asgi.py websocket_servers.py)

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
	$(MAKE) --no-print-directory test-frameworks

test-frameworks: $(VENV)-oldest/.test $(VENV)-newest/.test
	$(VENV)-oldest/bin/python -m pytest $(FRAMEWORK_TESTS)
	$(VENV)-newest/bin/python -m pytest $(FRAMEWORK_TESTS)

$(VENV)-oldest/.test: pyproject.toml tests/floors.txt
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV)-oldest/bin/python -m pip install --quiet --editable . --group test --constraint tests/floors.txt
	touch $@

$(VENV)-newest/.test: pyproject.toml
	$(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV)-newest/bin/python -m pip install --quiet --editable . --group test --upgrade --upgrade-strategy eager
	touch $@

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pyright --warnings

$(VENV)/.bench: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --editable . --group bench
	touch $@

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/summary.py
	$(BIN)/python benchmarks/bench_mapping.py
	$(BIN)/python benchmarks/bench_import.py
	$(BIN)/python benchmarks/bench_flood.py
	$(BIN)/python benchmarks/bench_routing.py
	$(BIN)/python benchmarks/bench_client.py

soak: $(VENV)/.test
	$(BIN)/python benchmarks/soak.py

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-newest tests/interop/node_modules .coverage* .mypy_cache .pytest_cache .ruff_cache dist
