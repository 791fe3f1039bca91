# Every command makes what it needs: .venv, with uv in it, with what uv.lock says in it.
PYTHON ?= python3
UV_VERSION := 0.13.8
BIN := .venv/bin
READY := .venv/ready
# Tests wait more than they work, so several processes share them, each with servers of its own.
BESIDE := --numprocesses auto --maxprocesses 4 --dist worksteal
export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help setup up down run test test-fast check fix bench soak docs clean

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY) ## Make .venv; every other command does so by itself

up: $(READY) ## Run Penstock on this machine, NATS and PostgreSQL included (args="--port 9000")
	@$(BIN)/penstock up $(args)

down: $(READY) ## Stop what `make up` runs
	@$(BIN)/penstock down $(args)

run: $(READY) ## Run services against servers that are there: make run service="channel branch"
	@$(BIN)/penstock run $(service)

test: $(READY) ## All tests but the soak, on servers that the tests start themselves
	$(BIN)/pytest -m "not soak" $(BESIDE) $(args)

test-fast: $(READY) ## Tests that start nothing
	$(BIN)/pytest -m "not integration and not acceptance and not soak" $(args)

check: $(READY) ## Everything that CI checks, except tests
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(foreach page,$(PAGES),$(call generate,$(page)) | diff - docs/$(page).md > /dev/null \
		|| { echo "docs/$(page).md is not current: run make docs"; exit 1; };)

fix: $(READY) ## Format, and apply safe fixes
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

bench: $(READY) ## Measure; writes bench-*.json and prints a table
	$(BIN)/python -m tests.bench $(args)

soak: $(READY) ## Kill processes at random for a long time, and look whether anything was lost
	$(BIN)/pytest -m soak --timeout 7200 $(args)

PAGES := configuration cli events
generator-configuration := services.runtime.config_reference
generator-cli := services.cli.reference
generator-events := schemas
generate = $(BIN)/python -m $(generator-$(1))

docs: $(READY) ## Generate the pages of docs/ that are read off the code
	@$(foreach page,$(PAGES),$(call generate,$(page)) > docs/.$(page).md \
		&& mv docs/.$(page).md docs/$(page).md && echo docs/$(page).md || exit 1;)

clean: ## Remove .venv and caches; the data directory stays
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml uv.lock
	@set -e; found=; \
	for python in $(PYTHON) python3.14 python3.13 python3.12 python3.11; do \
		if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			found=$$python; break; \
		fi; \
	done; \
	if [ -z "$$found" ]; then \
		echo "Penstock needs Python 3.11 or later, and $(PYTHON) is not:" \
			"install one, or name it with make PYTHON=/path/to/python" >&2; \
		exit 1; \
	fi; \
	[ -x $(BIN)/python ] || echo "Making .venv with $$found; this is done once, and takes a minute."; \
	[ -x $(BIN)/python ] || $$found -m venv .venv || { \
		echo "Python cannot make an environment here: on Debian, apt install python3-venv" >&2; \
		rm -rf .venv; exit 1; }
	@$(BIN)/python -m uv --version 2>/dev/null | grep -q '^uv $(UV_VERSION)\b' \
		|| { $(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip >/dev/null; \
			$(BIN)/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION); }
	@VIRTUAL_ENV= $(BIN)/python -m uv sync --frozen --quiet
	@touch $@
