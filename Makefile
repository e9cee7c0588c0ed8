# The task list. `make demo` and `make test` each work alone on a fresh clone with Python and make.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
PROVIDERS := .venv-providers
PROXY := .venv-proxy
FLOORS := .venv-floors
VERSIONS := 1.103.0 1.106.2
CORE := tests/test_tracker.py tests/test_models.py tests/stores tests/test_cli*.py tests/server
DOORS := tests/litellm_scenes tests/test_litellm_*.py tests/test_langchain_*.py tests/test_two_doors.py

# ALONE=1 tries once more what failed, one test at a time.
HOW := $(if $(ALONE),--last-failed --last-failed-no-failures none,-n auto --dist loadfile)

.PHONY: demo test test-openapi test-floors test-versions test-providers test-proxy litellm-page soak check bench clean

demo: $(STAMP)
	$(BIN)/tokentrail demo

test: $(STAMP)
	$(BIN)/python -m pytest $(HOW)

# The HTTP API against its own OpenAPI document; some minutes.
test-openapi: $(STAMP)
	$(BIN)/python -m pip install --quiet "schemathesis>=4.32"
	$(BIN)/python tests/openapi/check.py

# The doors, stores, commands and HTTP on the oldest libraries that pyproject.toml allows, which warn of newer ones.
test-floors: $(FLOORS)/.installed
	$(FLOORS)/bin/python -m pytest $(HOW) -W ignore::DeprecationWarning $(DOORS) $(CORE)

# LiteLLM's door on versions between the oldest and the newest; by hand, it takes minutes.
test-versions: $(VERSIONS:%=.venv-versions/%/.installed)
	for version in $(VERSIONS); do \
		.venv-versions/$$version/bin/python -m pytest $(HOW) tests/litellm_scenes tests/test_litellm_*.py || exit 1; \
	done

# docs/litellm-scenarios.md, from the table that the tests assert.
litellm-page: $(STAMP)
	$(BIN)/python tests/litellm_scenes/page.py

# LangChain's provider packages, a dozen of them, in an environment of their own.
test-providers: $(PROVIDERS)/.installed
	$(PROVIDERS)/bin/python -m pytest $(HOW) tests/providers

# `proxy_handler` in a LiteLLM proxy; and LiteLLM's functions of which some need what the proxy needs.
test-proxy: $(PROXY)/.installed
	$(PROXY)/bin/python -m pytest $(HOW) tests/proxy tests/litellm_scenes/test_scenes.py -k "proxy or function or who"

# Ten thousand calls of every kind, fifty at a time; the suite has a few hundred.
soak: $(STAMP)
	$(BIN)/python tests/soak/soak.py 10000

check: $(STAMP)
	$(BIN)/ruff check src tests examples
	$(BIN)/ruff format --check src tests examples
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(STAMP)
	$(BIN)/python tests/benchmarks/bench_import.py
	$(BIN)/python tests/benchmarks/bench_langchain.py
	$(BIN)/python tests/benchmarks/bench_litellm.py
	$(BIN)/python tests/benchmarks/bench_http.py

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --editable ".[all,demo]" --group test --group check
	touch $(STAMP)

$(PROVIDERS)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PROVIDERS)
	$(PROVIDERS)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(PROVIDERS)/bin/python -m pip install --quiet --editable ".[all,demo]" --group providers
	touch $@

$(PROXY)/.installed: pyproject.toml
	$(PYTHON) -m venv $(PROXY)
	$(PROXY)/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(PROXY)/bin/python -m pip install --quiet --editable ".[cli]" --group proxy
	touch $@

# uv, as pip cannot look for the oldest. What langchain-core 1.0 brings cannot do with a checkpointer of 4.x, which it allows.
$(FLOORS)/.installed: pyproject.toml
	$(PYTHON) -m venv --clear $(FLOORS)
	$(FLOORS)/bin/python -m pip install --quiet uv
	$(FLOORS)/bin/uv pip install --quiet --python $(FLOORS)/bin/python --resolution lowest-direct \
		--editable ".[all,demo]" "langgraph-checkpoint>=3,<4"
	$(FLOORS)/bin/uv pip install --quiet --python $(FLOORS)/bin/python --group test
	touch $@

.venv-versions/%/.installed: pyproject.toml
	$(PYTHON) -m venv .venv-versions/$*
	.venv-versions/$*/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	.venv-versions/$*/bin/python -m pip install --quiet --editable ".[all,demo]" --group test litellm==$*
	touch $@

clean:
	rm -rf $(VENV) $(PROVIDERS) $(PROXY) $(FLOORS) .venv-versions .pytest_cache .mypy_cache .ruff_cache .hypothesis
