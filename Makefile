# `make` alone lists what a person can do here. Nothing runs in CI that cannot be typed.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
T ?= tests
# Tests often wait for a process or a disk, so there is one process more than processors.
TEST_PROCESSES ?= $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)
BENCHED := files/bench

.DEFAULT_GOAL := help
.PHONY: help setup demo console serve test test-long bench check fix docs protos contract examples readme lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/installed: requirements.lock pyproject.toml client/pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable ./client --editable .
	@touch $@

setup: .venv/installed ## make .venv from requirements.lock, every package by its hash

demo: setup ## train both models on real data, serve, ask as the loan desk and as the CRM
	@$(BIN)/python demo.py

console: setup ## open the console in the browser, with a server on what `make demo` has made
	@$(BIN)/python demo.py --console

serve: setup ## serve the active bundles on 127.0.0.1:50051
	@$(BIN)/python -m server

test: setup ## run the tests (T=tests/models for a part)
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(T)

test-long: setup ## the same with more rounds, and the slow ones
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(T) -m "not bench"

bench: setup ## measure what it costs; writes tests/bench/history and renews tests/bench/README.md
	@rm -rf $(BENCHED)
	@for family in credit churn; do \
	  $(BIN)/python -m training fit training/$$family.toml --bundles $(BENCHED)/bundles --files $(BENCHED) || exit 1; done
	@for what in recourse churn explanation serving network record audit; do \
	  $(BIN)/python -m tests.bench $$what --bundles $(BENCHED)/bundles --files $(BENCHED) || exit 1; done
	@$(BIN)/python -m tests.bench feed

check: setup ## contract fresh, buf lint, format and breaking; ruff; mypy; imports
	@$(BIN)/python protos/contract.py check
	@$(BIN)/ruff format --check --quiet . || { echo "unformatted files; run: make fix"; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports --no-logo 2>/dev/null || $(BIN)/lint-imports

fix: setup ## format, and mend what can be mended safely
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .
	@$(BIN)/buf format --write protos --path protos/grounds

docs: setup ## build the site of docs/ and the READMEs into site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

protos: setup ## generate the Python of the contract
	@$(BIN)/python protos/contract.py generate

contract: setup ## write the contract for other languages: dist/grounds-contract-VERSION.zip
	@$(BIN)/python protos/contract.py archive

examples: contract ## build the examples in Node, Java and Go, and run them against a server
	@examples/build.sh
	@EXAMPLES_REQUIRED=1 $(BIN)/python -m pytest -q tests/examples

readme: setup ## write the README's console blocks from a real run
	@$(BIN)/python demo.py --readme

LOCK := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
  --no-emit-index-url --no-emit-find-links --no-emit-package grounds-client --no-header
IMAGE_LOCK := $(LOCK) --constraint requirements.lock pyproject.toml client/pyproject.toml

lock: setup ## add to requirements.lock what the pyproject.toml files need, and derive the locks of the images; pins that fit stay
	@$(BIN)/$(LOCK) --all-extras pyproject.toml client/pyproject.toml --output-file requirements.lock > /dev/null
	@$(BIN)/$(IMAGE_LOCK) --extra server --extra pkcs11 --extra cli --output-file deploy/container/server.lock > /dev/null
	@$(BIN)/$(IMAGE_LOCK) --extra training --extra cli --output-file deploy/container/training.lock > /dev/null
	@echo hatchling | $(BIN)/$(LOCK) --constraint requirements.lock - --output-file deploy/container/build.lock > /dev/null
