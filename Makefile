# Every target installs what it needs by itself, the first time. ARGS is passed on to the command.
PYTHON ?= python3.11
BIN := .venv/bin
DATA_DIR ?= .data
ARGS ?=

.PHONY: demo serve test lint audit bench conformance chaos mutants clean

demo: .venv/run
	$(BIN)/python -m titanflow demo $(ARGS)

serve: .venv/run
	$(BIN)/python -m titanflow serve --embedded $(ARGS)

bench: .venv/run
	$(BIN)/python -m titanflow bench $(ARGS)

test: lint
	@scripts/test $(ARGS)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# Known weaknesses of what the lock files pin, and licences. Needs the network, so it is no part of `test`.
audit: .venv/dev .venv-audit/done
	$(BIN)/python scripts/licences.py requirements/run.lock requirements/dev.lock
	.venv-audit/bin/pip-audit --strict --disable-pip --require-hashes -r requirements/run.lock -r requirements/dev.lock $(ARGS)

conformance: .venv/dev
	$(BIN)/python -m tests.conformance $(ARGS)

chaos: .venv/dev
	$(BIN)/python -m tests.chaos $(ARGS)

mutants: .venv/dev
	$(BIN)/python -m tests.mutants $(ARGS)

clean:
	rm -rf .venv .venv-audit $(DATA_DIR) .pytest_cache .mypy_cache .ruff_cache .hypothesis out

.venv/run: requirements/run.lock
	@scripts/make-venv $(PYTHON) requirements/run.lock $@

.venv/dev: requirements/dev.lock
	@scripts/make-venv $(PYTHON) requirements/dev.lock $@

.venv-audit/done: requirements/audit.lock
	@$(PYTHON) -m venv .venv-audit
	@.venv-audit/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $<
	@touch $@
