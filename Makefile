# Everything runs in .venv, made here from pyproject.toml with the versions of constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Python compiles what it imports; compiling all packages ahead would take longer.
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile \
	-c constraints.txt

.DEFAULT_GOAL := help
.PHONY: help setup demo check test contract faults chaos mutants supabase bench-webhook bench-receiver bench-fairness \
	bench-engine bench-idle-upload bench-gate bench-dispatch bench-start bench-triggers bench-idle bench-extract bench-tokens bench-corpus bench-search bench-recall \
	bench-reindex bench-fidelity bench-boundaries bench-encodings bench-peers bench bench-writer \
	bench-edit bench-growth bench-end-to-end benchmarks simulate eval upgrade-fixture format \
	constraints clean

help: ## List the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 17

setup: $(VENV)/.local ## Install docmill with the embedded mode into .venv

demo: $(VENV)/.local ## Upload, ingest and search on this machine; DOCS=folder for your own files
	@$(BIN)/docmill demo $(if $(DOCS),"$(DOCS)")

check: $(VENV)/.dev ## Lint, types, import rules, known vulnerabilities of pinned packages
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m tests.support.audit

test: $(VENV)/.dev ## Run every test against embedded PostgreSQL and Redis
	$(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=loadfile

# Pass these to the tests in the environment: everyone on the machine can read a command line.
contract: export CONTRACT_URL := $(SUPABASE_URL)
contract: export CONTRACT_KEY := $(SUPABASE_KEY)
contract: export CONTRACT_PUBLISHABLE_KEY := $(SUPABASE_PUBLISHABLE_KEY)
contract: export CONTRACT_EMAIL := $(SUPABASE_EMAIL)
contract: export CONTRACT_OTHER_EMAIL := $(SUPABASE_OTHER_EMAIL)
contract: export CONTRACT_PASSWORD := $(SUPABASE_PASSWORD)
contract: export CONTRACT_DB_URL := $(SUPABASE_DB_URL)
contract: $(VENV)/.dev ## Run the tests of the embedded API on a project: SUPABASE_URL=... SUPABASE_KEY=secret
	@$(BIN)/python -m pytest tests/contract/storage tests/contract/rest tests/contract/auth \
		tests/contract/functions

faults: $(VENV)/.dev ## Inject every fault many times, and record the results for docs/guarantees.md
	DOCMILL_FAULTS_FULL=1 DOCMILL_FAULTS_RECORD=1 $(BIN)/python -m pytest tests/faults \
		--ignore tests/faults/test_chaos.py --ignore tests/faults/test_guarantees.py
	$(BIN)/python -m tests.faults.alerts --record
	$(BIN)/python -m tests.faults.guarantees

chaos: $(VENV)/.dev ## Break everything at random under load; SEEDS=10 SECONDS=30 FIRST=1
	$(BIN)/python -m tests.faults.chaos --seeds $(or $(SEEDS),10) --seconds $(or $(SECONDS),30) \
		--first $(or $(FIRST),1) --record
	$(BIN)/python -m tests.faults.guarantees

mutants: $(VENV)/.dev ## Remove the guards of the schema one by one: a test must notice each
	$(BIN)/python -m tests.faults.mutants

bench-webhook: $(VENV)/.dev ## Measure how fast webhooks are answered
	$(BIN)/python -m tests.benchmarks.webhook

bench-receiver: $(VENV)/.dev ## Measure what hostile connections cost the receiver
	$(BIN)/python -m tests.benchmarks.hostile_connections $(OPTIONS)

bench-fairness: $(VENV)/.dev ## Measure how long an owner waits while another loads many files
	$(BIN)/python -m tests.benchmarks.fairness $(OPTIONS)

bench-engine: $(VENV)/.dev ## Measure how full requests are; OPTIONS='--only queued --documents 500 --runs 1'
	$(BIN)/python -m tests.benchmarks.engine $(OPTIONS)

bench-idle-upload: $(VENV)/.dev ## Measure one page from upload to searchable, stage by stage
	$(BIN)/python -m tests.benchmarks.idle_upload $(OPTIONS)

bench-gate: $(VENV)/.dev ## Measure the cost of passing a gate where others wait
	$(BIN)/python -m tests.benchmarks.gate

bench-dispatch: $(VENV)/.dev ## Measure how long it takes to choose what runs next
	$(BIN)/python -m tests.benchmarks.dispatch

bench-start: $(VENV)/.dev ## Measure how long a newcomer waits (needs a Chromium)
	$(BIN)/python -m tests.benchmarks.start

bench-triggers: $(VENV)/.dev ## Measure what the triggers add to the statements of Storage
	$(BIN)/python -m tests.benchmarks.triggers

bench-idle: $(VENV)/.dev ## Measure what an idle worker and a command use
	$(BIN)/python -m tests.benchmarks.idle

bench-extract: $(VENV)/.dev ## Measure reading against unstructured; OPTIONS='--corpus FOLDER'
	$(BIN)/python -m tests.benchmarks.extract $(OPTIONS)

bench-tokens: $(VENV)/.dev ## Measure counting and cutting text that is in no language
	$(BIN)/python -m tests.benchmarks.tokens

bench-corpus: $(VENV)/.dev ## Read every file of DOCS=folder; say how, how fast and what was lost
	$(BIN)/python -m tests.benchmarks.corpus "$(DOCS)"

bench-fidelity: $(VENV)/.dev ## Compare the text read from DOCS=folder with independent readers
	$(BIN)/python -m tests.benchmarks.fidelity "$(DOCS)" $(OPTIONS)

bench-encodings: $(VENV)/.dev ## Measure how often the encoding of a text is recognised
	$(BIN)/python -m tests.benchmarks.encodings

bench-boundaries: $(VENV)/.dev ## Measure how many chunks an inserted line changes; OPTIONS='--docs FOLDER'
	$(BIN)/python -m tests.benchmarks.boundaries $(OPTIONS)

bench: $(VENV)/.dev ## Measure the embedding engine, keep it and write docs/benchmarks.md: hours
	for name in end_to_end writer edit growth; do \
		$(BIN)/python -m tests.benchmarks.$$name --record || exit 1; \
	done
	$(BIN)/python -m tests.benchmarks.page
	$(BIN)/python -m tests.benchmarks.engine --runs 5
	$(BIN)/python -m tests.benchmarks.idle_upload
	$(BIN)/python -m tests.benchmarks.peers

bench-end-to-end: $(VENV)/.dev ## Measure documents against what the stages allow; OPTIONS='--files 40 --runs 1'
	$(BIN)/python -m tests.benchmarks.end_to_end $(OPTIONS)

bench-writer: $(VENV)/.dev ## Measure writing chunks beside its peers; OPTIONS='--rows 800 --runs 1'
	$(BIN)/python -m tests.benchmarks.writer $(OPTIONS)

bench-edit: $(VENV)/.dev ## Measure a paragraph at the top of a long file; OPTIONS='--pages 40 --runs 1'
	$(BIN)/python -m tests.benchmarks.edit $(OPTIONS)

bench-growth: $(VENV)/.dev ## Measure documents while more is stored; OPTIONS='--most 10000 --runs 1'
	$(BIN)/python -m tests.benchmarks.growth $(OPTIONS)

benchmarks: $(VENV)/.dev ## Write docs/benchmarks.md from what was recorded
	$(BIN)/python -m tests.benchmarks.page

supabase: | $(VENV)/bin/python ## Install the Supabase CLI into .venv, for the tests that run it (needs npm)
	npm install --prefix $(VENV)/supabase --no-save --ignore-scripts --no-audit --no-fund supabase@3.1.0

bench-search: $(VENV)/.dev ## Measure how long searches take; OPTIONS='--dimensions 256 --callers 10,1000'
	$(BIN)/python -m tests.benchmarks.search $(OPTIONS)

bench-peers: $(VENV)/.dev ## Measure docmill and its peers on the same files; OPTIONS='--runs 1'
	$(BIN)/python -m tests.benchmarks.peers $(OPTIONS)

bench-reindex: $(VENV)/.dev ## Measure filling another index version; OPTIONS='--chunks 20000'
	$(BIN)/python -m tests.benchmarks.reindex $(OPTIONS)

simulate: $(VENV)/.dev ## Say what binds at how many documents a day, if a check on real loads passes
	@$(BIN)/python -m tests.benchmarks.simulate $(OPTIONS)

bench-recall: $(VENV)/.dev ## Measure what searches find in collections that mislead an index
	$(BIN)/python -m tests.benchmarks.recall $(OPTIONS)

eval: $(VENV)/.dev ## Measure how well search finds what is asked; OPTIONS='--set FOLDER --keep'
	$(BIN)/python -m tests.eval $(OPTIONS)

upgrade-fixture: $(VENV)/.dev ## Keep this version's wheel and database for the test of upgrades
	$(BIN)/python -m tests.support.upgrade_fixture

format: $(VENV)/.dev ## Format the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

constraints: ## Choose new versions (needs uv)
	uv pip compile --universal --python-version 3.11 --upgrade --no-emit-index-url \
		--no-annotate --no-header --no-emit-package pip --extra dev pyproject.toml -o constraints.txt

clean: ## Remove everything installed and built
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis

# Stamps: nothing is installed again until a dependency changes.
$(VENV)/bin/python:
	@test -d docmill/worker || { echo "This clone lacks its symbolic links:" \
		"git config core.symlinks true, then git checkout docmill"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.local: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing docmill and what it needs into $(VENV): about a minute"
	@$(INSTALL) -e '.[local]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "Installing docmill and what its tests need into $(VENV): a minute or two"
	@$(INSTALL) -e '.[dev]'
	@touch $@ $(VENV)/.local
