# `make run` and `make test` set up all they need. Everything lives in .venv and var; `make clean` removes both.
PYTHON ?= python3
BIN := .venv/bin

# Hundreds of servers and commands are started by the tests: compiled once, not each time.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help run test check unit interop bench ledger fuzz clean packages asterisk

help:             ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

run: .venv/run    ## play the main job live with real softphones, then keep serving (ONCE=1: exit after the play)
	@mkdir -p var && cp etc/demo.yaml var/sipsms.yaml
	@$(BIN)/python -m tools.carrier_sim --did 5550001111 --did 5550002222 --quiet \
		--webhook http://127.0.0.1:8080/hooks/voipms/demo -- $(BIN)/sipsms -c var/sipsms.yaml demo $(if $(ONCE),--once)

test: packages asterisk check unit   ## everything: style, types, layers, unit, conformance, end to end, faults

check: .venv/dev  ## ruff and mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

unit: .venv/dev   ## the tests without installing Debian packages
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder
	$(BIN)/python -m pytest -p tests.support.tools.plain_sqlite tests/store
	$(BIN)/python -m tools.requirements

interop: packages asterisk .venv/dev  ## the tests with other people's programs: Asterisk, Kamailio, baresip, sipp ...
	$(BIN)/python -m pytest tests/interop

bench: .venv/dev  ## rates, latency, CPU and memory, beside Kamailio and Kannel where they are installed; transports
	mkdir -p build
	$(BIN)/python -m tools.bench --full --outstanding 128 --json build/bench.json $(BENCH)
	$(BIN)/python -m tools.bench.carriers --json build/carriers.json
	$(BIN)/python -m tools.bench.page build/bench.json build/carriers.json
	$(BIN)/python -m tools.bench.http --stored 0 1000000
	$(BIN)/python -m tools.bench.transports
	$(BIN)/python -m tools.bench.smpp

ledger: .venv/dev ## kill the server again and again under all kinds of clients, and compare the books (KILLS=60 SEED=1)
	$(BIN)/python -m tools.ledger --kills $(or $(KILLS),60) --seed $(or $(SEED),1) $(LEDGER)

fuzz: .venv/fuzz  ## fuzz all that reads octets or files of others, 60 s each (FUZZ="--seconds 600 hooks")
	$(BIN)/python -m tools.fuzz $(FUZZ)

packages:         ## Debian packages the tests use (sip-tester, baresip ...), if apt and root are at hand
	@tools/packages

asterisk:         ## an Asterisk in a folder of its own (tools/asterisk path), if root is at hand
	@tools/asterisk install || true

clean:            ## remove what the other targets made
	rm -rf .venv var build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "sipsms needs Python 3.11 or later; try make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "$(PYTHON) cannot make a virtual environment; on Debian: apt-get install python3-venv"; exit 1; }

.venv/run: setup.cfg pyproject.toml | .venv/bin/python
	@echo "setting up .venv ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[softphone]'
	@touch $@

.venv/dev: setup.cfg pyproject.toml | .venv/bin/python
	@echo "setting up .venv with what the tests need ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[softphone,dev]'
	@touch $@ .venv/run

.venv/fuzz: .venv/dev
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	@touch $@
