# Commands for people and for CI; `make` alone lists them. Everything runs from .venv, which the first target that needs it makes.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Two for each of two cores: tests that wait for a daemon, a browser or a server leave theirs idle.
WORKERS ?= 4
# A process that may not keep its compiled modules compiles Dagster or dbt anew each time: five seconds.
unexport PYTHONDONTWRITEBYTECODE

.venv/.run: requirements.lock pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing the pipeline into .venv"
	@.ci/pip-install --require-hashes -r requirements.lock
	@.ci/pip-install --no-deps --no-build-isolation -e .
	@touch $@

.venv/.dev: requirements-dev.lock .venv/.run
	@echo "Installing the development tools into .venv"
	@.ci/pip-install --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.PHONY: setup
setup: .venv/.run ## Make .venv with everything that runs

.PHONY: demo
demo: .venv/.run ## Fill the fictional market's lake and publish gold (no key, no network)
	@$(BIN)/market-pipeline demo

.PHONY: dev
dev: .venv/.run ## Serve Dagster and the dashboard until Ctrl-C
	@$(BIN)/market-pipeline dev

.PHONY: up down wipe logs backup restore backfill smoke
up: ## Build and start the containers, with demo data or, with a key in .env, real data
	@docker/stack up

down: ## Stop the containers; their data stays
	@docker/stack down

wipe: ## Stop the containers and delete all their data
	@docker/stack wipe

logs: ## What the containers said last; FOLLOW=1 goes on
	@docker/stack logs

backup: ## Copy lake, state and Dagster's database into TO=folder, with hashes
	@docker/stack backup "$$TO"

restore: ## Bring the backup FROM=folder into an empty stack
	@docker/stack restore "$$FROM"

backfill: ## Fetch what DATASET lacks since SINCE (UNTIL=...), in the containers
	@docker/stack backfill "$$DATASET" "$$SINCE" "$$UNTIL"

smoke: ## Check the running containers: health, ports, rights, data; KILLS=1 and RESTORE=1 for more
	@docker/smoke

.PHONY: check
check: .venv/.dev ## Format, lint, types, imports, SQL, generated files
	@$(MAKE) --no-print-directory --jobs 2 --output-sync=target check-types check-sql check-containers check-rest

.PHONY: check-types check-sql check-containers check-rest
check-containers:
	$(BIN)/hadolint docker/Dockerfile
	$(BIN)/compose-lint check --fail-on high compose.yaml
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec compose.yaml docker/compose.seaweedfs.yaml docker/compose.elsewhere.yaml
check-sql:
	$(BIN)/sqlfluff lint --disable-progress-bar dbt/models dbt/published dbt/tests/*.sql
	$(BIN)/sqlfluff lint --disable-progress-bar --templater placeholder \
		--exclude-rules references.keywords,structure.column_order,references.qualification,references.consistent dashboards/queries
check-types:
	MYPYPATH=src:dashboards:benchmarks $(BIN)/mypy --explicit-package-bases src/market_pipeline \
		dashboards/app.py dashboards/charts dashboards/app_pages/*.py benchmarks/*.py benchmarks/peers/*.py
check-rest:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/python -m market_pipeline.catalog --check

.PHONY: format
format: .venv/.dev ## Write the format that check asks for
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: generate
generate: .venv/.run ## Write the files that come from contracts and providers
	$(BIN)/python -m market_pipeline.catalog

.PHONY: test
test: .venv/.dev ## Run every test, offline
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: chaos
chaos: .venv/.dev ## The proofs at full length, where they were left: PROOFS="8 13" MINUTES=20 a proof, SEED=1, FRESH=1
	PYTHONPATH=src:tests nice -n 10 $(BIN)/python -m proofs $(PROOFS) --minutes $(or $(MINUTES),20) --seed $(or $(SEED),1) \
		$(if $(FRESH),--fresh)

.PHONY: soak
soak: .venv/.dev ## The proofs that take hours, where they were left: dashboard, Dagster, everything; MINUTES=60 a proof
	PYTHONPATH=src:tests nice -n 10 $(BIN)/python -m proofs --soak $(PROOFS) --minutes $(or $(MINUTES),60) --seed $(or $(SEED),1) \
		$(if $(FRESH),--fresh)

.PHONY: bench
bench: .venv/.run ## Measure against peers and floors into benchmarks/ (25 minutes): BENCH="gold publish" prints some
	$(BIN)/python benchmarks $(BENCH)

.PHONY: screenshots
screenshots: .venv/.dev ## Take the pictures of the README from a running make dev
	$(BIN)/python docs/images/take.py

.PHONY: dbt-run
dbt-run: .venv/.run ## Build and publish gold from silver
	@$(BIN)/market-pipeline run gold

.PHONY: dbt-test
dbt-test: .venv/.run ## Build gold and run every dbt test, publish nothing
	@$(BIN)/market-pipeline run gold --check-only

COMPILE = uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-strip-extras \
	--custom-compile-command "make lock"

.PHONY: lock
lock: ## Resolve the locks anew (needs uv)
	$(COMPILE) --extra build --extra dashboard --extra dev pyproject.toml -o requirements-dev.lock
	$(COMPILE) --extra build --extra dashboard -c requirements-dev.lock pyproject.toml -o requirements.lock
	$(COMPILE) -c requirements.lock pyproject.toml -o docker/pipeline.lock
	$(COMPILE) -c requirements.lock docker/dashboard.in -o docker/dashboard.lock
	echo uv | $(COMPILE) - -o requirements-install.lock

.PHONY: clean
clean: ## Remove the environment and caches; the data folder stays
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis src/*.egg-info dbt/target dbt/logs
