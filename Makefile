# make up     install, then bring the example up: documents -> trained, served, cited answers
# make test   install what the tests need, lint, and run every test; the same command CI runs
# make coverage   the tests again, with what they reach (a third slower)

PYTHON ?= python3
BIN := .venv/bin
EXAMPLE ?= examples/python-docs
.PHONY: up install dev test coverage lint bench docs clean

up: .venv/.installed
	$(BIN)/undercroft up $(EXAMPLE)

install: .venv/.installed

.venv/.installed: pyproject.toml constraints.txt scripts/install.py
	$(PYTHON) scripts/install.py
	@touch $@

dev: .venv/.dev

.venv/.dev: pyproject.toml constraints.txt scripts/install.py
	$(PYTHON) scripts/install.py --dev
	@touch .venv/.installed $@

test: lint
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

coverage: .venv/.dev
	$(BIN)/python -m pytest --cov --cov-report=term

lint: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: .venv/.dev
	$(BIN)/python -m benchmarks.main_job
	$(BIN)/python -m benchmarks.gateway

docs: .venv/.dev
	$(BIN)/python -m scripts.reference

clean:
	rm -rf .venv
