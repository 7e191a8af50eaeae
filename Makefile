# `make` alone lists the targets. Each sets up what it needs, once.
.DEFAULT_GOAL := help
.PHONY: help setup setup-deploy demo up down status doctor test test-install test-long promises golden imports check format bench docs outputs pictures site clean
SHELL := /bin/bash
MAKEFLAGS += --no-print-directory --no-builtin-rules
# Where it is set, each process of the tests would compile all tests anew: 9 s of 13.
unexport PYTHONDONTWRITEBYTECODE

# The one that the environment has, where there is a whole one.
PYTHON ?= $(if $(and $(wildcard $(BIN)/uv),$(realpath $(BIN)/python)),$(BIN)/python,python3)
# Another folder for another Python: make test PYTHON=python3.13 VENV=.venv-3.13
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up
LOCKS := $(wildcard deploy/locks/*/*.txt) benchmarks/requirements-river.txt
FUNCTION_STAMP := $(VENV)/environments/.set-up
# Each imports all that is tested: a third costs more than the waiting that it fills.
WORKERS ?= 2
# A part of the tests: make test SLICE=1/8
OF_SLICE := $(if $(SLICE),--slice=$(SLICE))
# Where there is no state yet, its name is not mistyped.
FIRST_STATE = $(if $(wildcard .local/states/*),,--new)
IF_SET_UP := [ -e $(STAMP) ] || { echo "Nothing is running."; exit 0; };
# Exported as shell variables, so that any character in a value is safe.
export DATA EVENTS CARDS USE_CASE USER_COLUMN LABEL_EVENT WEEKS STATE ONLY OUT BREAKS

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "make demo DATA=FILE_OR_FOLDER  your own GA4 export rows (JSON, .gz, .zst, Parquet)"
	@echo "     USER_COLUMN=user_id  LABEL_EVENT=sign_up  WEEKS=4  USE_CASE=one_of_yours"
	@echo "make demo EVENTS=FOLDER USE_CASE=NAME   events of your own, for a use case with [events] (CSV, Parquet)"
	@echo "make demo STATE=second PROPENSITY_PORT_BASE=9080   a second demo at the same time"
	@echo "make demo CARDS=FILE           your own card transactions: Time, V1 to V28, Amount, Class (Parquet, CSV)"
	@echo "make up STATE=…                run the result of a demo; PROPENSITY_PORT_BASE=9080 for other ports"

setup: $(STAMP) $(FUNCTION_STAMP) ## install everything into .venv, and each function's lock beside it
	@[ "$(MAKECMDGOALS)" != setup ] || echo "Ready. Next: make demo, or $(BIN)/propensity try --example"

setup-deploy: ## install what a deploy needs, and no more
	@[ -e $(STAMP) ] || { $(PYTHON) -m venv $(VENV) && \
	  sed -n '/^msgspec==/,/[^\\]$$/p' deploy/locks/02-GetProba/requirements.txt | \
	  $(BIN)/python -m pip install -q --no-input --disable-pip-version-check --no-deps \
	    --only-binary=:all: --require-hashes -r /dev/stdin && touch $(VENV)/.set-up-to-deploy; }

demo: setup ## train, evaluate, predict, look up and stream on generated data, or on DATA=…, EVENTS=… or CARDS=…
	@$(BIN)/python -m commands demo $${DATA:+--data "$$DATA"} $${EVENTS:+--events "$$EVENTS"} $${CARDS:+--cards "$$CARDS"} $${STATE:+--state "$$STATE"} \
	  $${USER_COLUMN:+--user-column "$$USER_COLUMN"} $${WEEKS:+--weeks "$$WEEKS"} \
	  $${LABEL_EVENT:+--label-event "$$LABEL_EVENT"} \
	  $${USE_CASE:+--use-case "$$USE_CASE"}

up: setup ## start Propensity on this machine and keep it running
	@$(BIN)/python -m commands up $${STATE:+--state "$$STATE" $(FIRST_STATE)}

down: ## stop what `make up` started
	@$(IF_SET_UP) $(BIN)/python -m commands down

status: ## show what is running, with addresses and logs
	@$(IF_SET_UP) $(BIN)/python -m commands status

doctor: $(STAMP) ## check what is running, and suggest what to fix
	@$(BIN)/python -m commands doctor --local || [ $$? = 1 ]

test: setup ## run the tests, or ONLY="tests/functions/test_score.py …"; PROPENSITY_DATA=FOLDER adds the tests on real data
	@$(BIN)/python -m pytest -m "not long and not installs" $(OF_SLICE) \
	  $(if $(ONLY),-n 0 $(ONLY),-n $(WORKERS) --dist loadfile --no-loadscope-reorder tests)

test-install: setup ## run the tests that install packages, from the package index
	@$(BIN)/python -m pytest -m installs -n $(WORKERS) --dist load tests

# They wait for processes more than they compute: two workers more.
test-long: setup ## run the tests that take minutes: processes killed, deploys, many draws
	@$(BIN)/python -m pytest -m "(long or hypothesis) and not installs" --hypothesis-profile=deep $(OF_SLICE) -n $$(($(WORKERS) + 2)) --dist loadfile --no-loadscope-reorder -rP tests

promises: setup ## break each promise of users, and see its test fail: ONLY=WORDS, BREAKS=FILE
	@$(BIN)/python -m tests.promises $${ONLY:+--only "$$ONLY"} $${BREAKS:+--breaks "$$BREAKS"}

golden: setup ## write the pages that tests compare anew, in tests/golden: read the difference
	@GOLDEN=1 $(BIN)/python -m pytest -n 0 -q $$(grep -rl --include='test_*.py' same_as_golden tests)

# Collected, a test is imported, and all that it tests.
imports: setup ## import every module, and run no test
	@$(BIN)/python -m pytest --collect-only -q tests >$(VENV)/imports || { cat $(VENV)/imports; exit 1; }

check: $(STAMP) ## formatting, lint and types; of scripts, too
	@$(BIN)/shellcheck .ci/run deploy/lock.sh deploy/python.sh 0*/*.sh
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@for folder in 0*/; do $(BIN)/mypy --no-error-summary --exclude '^$$' $$folder*.py || exit 1; done

format: $(STAMP) ## write the code as `make check` asks for it
	@$(BIN)/ruff check --fix --quiet . || true
	@$(BIN)/ruff format --quiet .

bench: setup ## run benchmarks, or ONLY="NAME …" (docs/measured.md), and write one table, OUT=.local/bench.md
	@$(BIN)/python -m benchmarks $${ONLY:-} --out "$${OUT:-.local/bench.md}"

docs: $(STAMP) ## write the pages that are made from the code
	@$(BIN)/python -m docs

outputs: setup ## play the demo, and write its numbers into the pages
	@$(BIN)/python -m docs.outputs

pictures: $(STAMP) ## take the pages' pictures of what `make outputs` has played; needs Chromium
	@$(BIN)/python -m docs.pictures

site: $(STAMP) ## build the pages as a site with a search, and in it the demo that was played
	@$(BIN)/python -m docs.site

clean: ## stop everything, and remove all local state
	@[ ! -e $(STAMP) ] || $(BIN)/python -m commands down
	@rm -rf .local
	@echo "removed .local (all local states); .venv stays"

# -- set-up ---------------------------------------------------------------------------

$(STAMP): requirements.txt local/venvs.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "Propensity needs Python 3.11 or newer; '$(PYTHON)' is $$($(PYTHON) -V 2>/dev/null || echo missing)." >&2; \
	  echo "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "· setting up, once; this takes about a minute" >&2
	@{ [ -e $(BIN)/uv ] && [ "$$($(BIN)/python -V)" = "$$($(PYTHON) -V)" ]; } || { \
	  $(PYTHON) -m venv --clear $(VENV) && \
	  $(BIN)/python -m pip install -q --no-input --disable-pip-version-check --no-deps \
	    $$(grep '^uv==' requirements.txt); }
	@$(BIN)/python -m local.venvs
	@touch $@

$(FUNCTION_STAMP): $(STAMP) $(LOCKS)
	@$(BIN)/python -m local.venvs functions
	@mkdir -p $(@D) && touch $@
