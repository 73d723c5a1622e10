PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

BOOTSTRAP := $(PYTHON) scripts/bootstrap.py --venv "$(VENV)"

.DEFAULT_GOAL := help
.PHONY: help setup runtime demo serve doctor test check bench chaos soak stubs format clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' Makefile

setup: ## Set up everything for working on llamawire, in .venv (VENV=…, PYTHON=…, CMAKE_ARGS=…)
	@$(BOOTSTRAP) --extras server,dev

runtime: # Just what the server needs
	@$(BOOTSTRAP) --extras server

demo: runtime ## From nothing to streamed answers, over gRPC and over HTTP
	@$(BIN)/python scripts/demo.py

serve: runtime ## Serve the bundled model on the default ports
	$(BIN)/llamawire-server serve --preload smollm2

doctor: runtime ## Check this machine and this build of llama.cpp
	@$(BIN)/llamawire-server doctor

test: setup ## Run the tests
	$(BIN)/pytest --numprocesses auto --maxprocesses 4 --dist loadfile

check: setup ## Lint, types, formatting, the contract and its stubs
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	MYPYPATH=scripts $(BIN)/mypy scripts
	MYPYPATH=tests:client:server $(BIN)/mypy --package bench
	$(BIN)/buf lint proto
	$(BIN)/buf format proto --diff --exit-code
	$(BIN)/python scripts/breaking.py
	$(BIN)/python scripts/stubs.py --check

bench: ## Measure llamawire beside llama.cpp's own servers (ARGUMENTS=--quick, …)
	@$(BOOTSTRAP) --extras server,dev,bench
	$(BIN)/python scripts/peers.py
	PYTHONPATH=tests $(BIN)/python -m bench $(ARGUMENTS)

chaos: setup ## Kill, stop and replace what answers, and check every answer (SECONDS=…, SEED=…)
	$(BIN)/python tests/chaos/run.py $(if $(SECONDS),--seconds $(SECONDS)) $(if $(SEED),--seed $(SEED))

soak: setup ## Ask ten thousand times, and see that nothing grows (REQUESTS=…)
	$(BIN)/python tests/soak/run.py $(if $(REQUESTS),--requests $(REQUESTS))

stubs: setup ## Generate the Python stubs from proto/
	$(BIN)/python scripts/stubs.py

format: setup ## Format Python and proto
	$(BIN)/ruff format
	$(BIN)/ruff check --fix
	$(BIN)/buf format proto --write

clean: ## Remove what was built, but not the environment
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find client server scripts tests -name __pycache__ -type d -prune -exec rm -rf {} +
