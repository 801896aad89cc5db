# Every target installs what it needs by itself, the first time. ARGS is passed on to the command.
PYTHON ?= python3.11
BIN := .venv/bin
DATA_DIR ?= .data
ARGS ?=

.PHONY: demo serve test lint bench conformance chaos mutants clean

demo: .venv/run
	$(BIN)/python -m titanflow demo $(ARGS)

serve: .venv/run
	$(BIN)/python -m titanflow serve --embedded $(ARGS)

bench: .venv/run
	$(BIN)/python -m titanflow bench $(ARGS)

test: lint
	$(BIN)/python -m pytest $(ARGS)

lint: .venv/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

conformance: .venv/dev
	$(BIN)/python -m tests.conformance $(ARGS)

chaos: .venv/dev
	$(BIN)/python -m tests.chaos $(ARGS)

mutants: .venv/dev
	$(BIN)/python -m tests.mutants $(ARGS)

clean:
	rm -rf .venv $(DATA_DIR) .pytest_cache .mypy_cache .ruff_cache .hypothesis out

.venv/run: requirements/run.lock
	@scripts/make-venv $(PYTHON) requirements/run.lock $@

.venv/dev: requirements/dev.lock
	@scripts/make-venv $(PYTHON) requirements/dev.lock $@
