# `make demo` and `make test` set up everything themselves, in .venv, on a fresh machine.
VENV := .venv
BIN := $(VENV)/bin
# A pyenv shim exists for versions that are not installed: ask it to run.
USABLE := $(shell for p in python3.13 python3.12 python3.11 python3; do $$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

.PHONY: demo test lint torture fuzz benchmark clean

demo: $(VENV)/.installed
	$(BIN)/swath demo

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

torture: $(VENV)/.installed-dev
	SWATH_TORTURE=1 $(BIN)/python -m pytest -s

# Made-up filters against the readers; FUZZ="--seconds 60" for a shorter run.
FUZZ := --count 10_000_000 --workers 2
fuzz: $(VENV)/.installed-dev
	$(BIN)/python -m tests.fuzz_filters $(FUZZ)

benchmark: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.load

$(VENV)/bin/python:
	@test -n "$(USABLE)" || { echo "Swath needs Python 3.11 or newer on the PATH" >&2; exit 1; }
	$(USABLE) -m venv $(VENV) || { apt-get update && apt-get install -y python3-venv && $(USABLE) -m venv $(VENV); }

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[parquet,raster]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[parquet,raster,dev]'
	touch $@

clean:
	rm -rf $(VENV) build dist
