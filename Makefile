# uv from the PATH, or the one that `make setup` installs with pip.
UV = $(shell command -v uv || echo python3 -m uv)
RUN = $(UV) run --frozen
STACK = $(RUN) python -m tests.stack
PROFILE ?=
MINUTES ?= 30
SEED ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fix dev stack stack-down trial bench spec properties

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## Install uv if there is none, then the locked dependencies
	@$(UV) --version >/dev/null 2>&1 || python3 -m pip install -q uv 2>/dev/null || python3 -m pip install -q --break-system-packages uv
	@$(UV) sync --frozen --quiet

demo: setup ## Run a shop's changes through every layer; needs no server
	@$(RUN) medallion demo

test: setup ## Run every test, those on the real stack too (needs Java, Maven, Postgres, MariaDB, Chromium)
	@$(STACK) run -- $(RUN) pytest

check: setup ## Check format, lint, imports, types, definitions, and run the quick tests
	@$(RUN) ruff format --check . && $(RUN) ruff check . && $(RUN) lint-imports && $(RUN) pyright && $(RUN) dagster definitions validate && $(RUN) pytest -q -m "not stack and not slow"

fix: setup ## Format, and mend what the linter can
	@$(RUN) ruff format . && $(RUN) ruff check --fix .

dev: setup ## Open the Dagster UI on http://localhost:3000
	@mkdir -p .dagster && ln -sf ../dagster.yaml .dagster/dagster.yaml && DAGSTER_HOME="$(CURDIR)/.dagster" $(RUN) dagster dev

stack: setup ## Start the real Kafka, Connect, Debezium and Postgres
	@$(STACK) up

stack-down: setup ## Stop them and delete their data
	@$(STACK) down

trial: setup ## Drive the real stack through drawn histories for MINUTES from SEED, and check every law
	@$(RUN) python -m tests.stack.trial --minutes $(MINUTES) --seed $(SEED)

bench: setup ## Print the benchmarks' ratios
	@$(RUN) python -m benchmarks

spec: setup ## Run the written cases
	@$(RUN) pytest tests/spec

properties: setup ## Run the laws on generated histories; PROFILE names a hypothesis profile
	@$(RUN) pytest tests/properties $(if $(PROFILE),--hypothesis-profile=$(PROFILE))
