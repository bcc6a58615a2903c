# What a developer or a new user types. `make` alone explains itself.
#
# A machine needs Python 3.11 or newer and make; the rest is installed into .venv, every file of it
# checked against the hashes in the lock files.

# The python3 on the PATH. But one that was compiled without optimisation, as pyenv does unless told
# otherwise, needs about a fifth more CPU for the same work than the system's, which is taken instead.
PLAIN := import sys, sysconfig; \
	sys.exit("--enable-optimizations" in str(sysconfig.get_config_var("CONFIG_ARGS")))
FIT := import ensurepip, sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell python3 -c '$(PLAIN)' && /usr/bin/python3 -c '$(FIT)' 2> /dev/null \
	&& echo /usr/bin/python3 || echo python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
MEMBERS := sdk kit $(patsubst %/,%,$(dir $(wildcard services/*/pyproject.toml) cli/pyproject.toml \
	$(wildcard plugins/*/pyproject.toml)))
PROJECTS := pyproject.toml $(addsuffix /pyproject.toml,$(MEMBERS))

.DEFAULT_GOAL := help
.PHONY: help run demo counterparts test chaos check fix bench migrate new-service migration version lock clean

help: ## Show what each target does
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  \033[1m%-13s\033[0m %s\n", $$1, $$2}' Makefile

run: $(READY) ## Start Liaison: database, broker, all services, the gateway; Ctrl-C stops it
	@exec $(BIN)/python -m liaison_kit.run

demo: $(READY) ## Fill the running Liaison with a demo company
	@$(BIN)/liaison demo

counterparts: $(READY) ## Install the real systems that the tests run against
	@$(BIN)/python -m liaison_kit.run --install-only

test: counterparts ## Run every test, on a real PostgreSQL and a real RabbitMQ
	@$(BIN)/python -m pytest -n 2 --dist loadfile

chaos: $(READY) ## Run the tests that kill things and try orders, at length: half an hour
	@LIAISON_KILLS=200 LIAISON_STATES=300 $(BIN)/python -m pytest --timeout 3600 \
		kit/tests/events/test_kills.py kit/tests/events/test_states.py \
		kit/tests/timers/test_kills.py kit/tests/timers/test_states.py \
		tests/faults/test_kills.py tests/privacy/test_merges_undone.py \
		kit/tests/flows/test_kills.py services/connect/tests/test_connect_states.py

check: $(READY) ## Lint and check types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy --strict sdk/liaison_sdk kit/liaison_kit cli/liaison_cli \
		services/*/liaison_* plugins/*/liaison_*
	@$(BIN)/mypy --strict services/_template

fix: $(READY) ## Format the code and repair what the linter can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(READY) ## Measure Liaison against its floor; prints a table, writes bench.json
	@$(BIN)/python -m bench

migrate: $(READY) ## Bring every service's database to this version, without starting services
	@$(BIN)/python -m liaison_kit.run --migrate-only

new-service: $(READY) ## Render a service that runs: make new-service NAME=fleet RECORD=vehicle
	@$(BIN)/python -m services._template '$(NAME)' '$(RECORD)' '$(PLURAL)'
	@$(MAKE) --no-print-directory $(READY)

migration: $(READY) ## Draw the next migration: make migration SERVICE=fleet MESSAGE="Colours"
	@$(BIN)/python -m liaison_kit.new_migration '$(SERVICE)' '$(MESSAGE)'

version: ## Give everything a new version: make version TO=1.2.0
	@sed -i 's/^VERSION = ".*"/VERSION = "$(TO)"/' sdk/liaison_sdk/version.py
	@sed -i 's/^version = ".*"/version = "$(TO)"/' $(PROJECTS)

lock: $(BIN)/uv ## Pin all dependencies again (UPGRADE=1 takes the newest that fit)
	@echo uv | $(BIN)/uv pip compile - --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet \
		$(if $(UPGRADE),--upgrade) -o bootstrap.lock > /dev/null
	@$(BIN)/uv pip compile pyproject.toml --group dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --no-header --no-annotate --quiet \
		$(if $(UPGRADE),--upgrade) -o requirements.lock > /dev/null \
		$$(sed -n 's/^name = "\(.*\)"/--no-emit-package \1/p' $(PROJECTS))

clean: ## Remove the environment and the caches; the data in .run stays
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis bench.json
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Liaison needs Python 3.11 or newer; name one with: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
		echo "No venv here: on Debian and Ubuntu it is the package python3-venv."; exit 1; }

# pip only brings uv. A machine's own pip settings (a mirror, extra indexes) are tried first; where
# they stand in the way, a second try goes without them.
$(BIN)/uv: bootstrap.lock | $(BIN)/python
	@PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_USER=0 $(BIN)/python -m pip install --quiet \
		--require-hashes --only-binary :all: -r bootstrap.lock 2> $(VENV)/pip.log || \
	$(BIN)/python -m pip --isolated install --quiet --disable-pip-version-check \
		--require-hashes --only-binary :all: -r bootstrap.lock || { cat $(VENV)/pip.log; exit 1; }
	@touch $@

# uv does not read pip's settings, so a mirror named there is passed on. The members come last and
# are only linked: what they need is in the lock already, their build backend included.
$(READY): requirements.lock $(PROJECTS) | $(BIN)/uv
	@index="$${PIP_INDEX_URL:-$$($(BIN)/python -m pip config get global.index-url 2>/dev/null)}"; \
	if [ -n "$$index" ]; then export UV_DEFAULT_INDEX="$${UV_DEFAULT_INDEX:-$$index}"; fi; \
	export VIRTUAL_ENV=$(abspath $(VENV)); \
	$(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock && \
	$(BIN)/uv pip install --quiet --no-deps --no-build-isolation $(addprefix -e ./,$(MEMBERS))
	@touch $@
