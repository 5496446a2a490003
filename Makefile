# Everything a newcomer needs. Nothing here wants root.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PACKAGES := wire water certs gateway edge_agent cloud firmware_sim headgate

.DEFAULT_GOAL := help
.PHONY: help install demo up test servers check conformance format bench soak clean

help: ## Print this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 12

install: $(VENV)/.installed ## Create .venv from the lock file (uv from PyPI, no root)

$(VENV)/.installed: pyproject.toml uv.lock
	@echo 'installing into $(VENV); the first time takes a minute'
	@test -x $(BIN)/uv || $(PYTHON) -m venv $(VENV)
	@test -x $(BIN)/uv || $(BIN)/python -m pip --quiet --disable-pip-version-check install 'uv>=0.8'
	@$(BIN)/uv sync --quiet --locked --inexact --compile-bytecode --extra test --python $(BIN)/python
	@touch $@

demo: install ## Start everything and watch the river run (ARGS="--seconds 30 --json")
	@$(BIN)/headgate demo $(ARGS)

up: install ## Start the platform on this machine and keep it running
	@$(BIN)/headgate up $(ARGS)

servers: install ## Fetch the servers the tests start (RabbitMQ, mosquitto, Redis, NGINX), without root
	@$(BIN)/python -P -m tests.support.servers

test: check servers ## Install what the tests need and run every test
	@# The tests start hundreds of processes: compile what they import once.
	@$(BIN)/python -m compileall -q $(PACKAGES)
	@$(BIN)/python -m pytest -n 4 --dist loadscope --no-loadscope-reorder $(ARGS)

check: install ## Format, lint, floors, types
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/lint-imports --no-cache --config .importlinter
	@$(BIN)/mypy

conformance: install ## Run the tests that name a requirement and write docs/conformance.md from them
	@$(BIN)/python -m pytest -n 2 --dist loadscope -m spec --conformance docs/conformance.md

format: install ## Rewrite the sources in house format
	@$(BIN)/ruff format . && $(BIN)/ruff check --fix .

bench: install ## Measure wire, hub, ingest, cluster and alert (growth, rivals: headgate bench NAME)
	@$(BIN)/headgate bench all $(ARGS)

soak: servers ## Hours of proof: prove, prove --cluster, amnesia, storm, 10,000 simulation seeds
	@$(BIN)/python -m benchmarks.soak $(ARGS)

clean: ## Remove the virtual environment and caches
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
