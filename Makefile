# The NLA research kit. `make help` lists what there is to make.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
READY  := $(VENV)/.installed

# Threads that wait briefly instead of spinning: as fast alone, and several times faster beside other programs.
export GOMP_SPINCOUNT ?= 3000

.DEFAULT_GOAL := help
.PHONY: help install reproduce test test-all bench lab notebooks lint clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-10s %s\n", $$1, $$2}'

install: $(READY)  ## create .venv and install the kit with all it needs

# The versions that the kit was tested with; `make install LATEST=1` takes the newest instead.
CONSTRAINTS := $(if $(LATEST),,-c constraints.txt)

$(READY): pyproject.toml constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; install Python 3.11 or newer, or call make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $$($(PYTHON) --version) is too old; the kit needs Python 3.11 or newer (make PYTHON=python3.12)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: $(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	@echo "installing torch and the kit into $(VENV) (once; some minutes and about 6 GB, mostly torch)"
	@$(BIN)/python -m pip install --disable-pip-version-check $(CONSTRAINTS) -e '.[test]'
	@touch $(READY)

reproduce: $(READY)  ## train the demo, run every notebook, draw figures/ (5 to 10 minutes on two cores)
	@$(BIN)/python -m nla reproduce

# Files of tests at a time; one of them runs the notebooks.
JOBS ?= 2

test: $(READY)  ## the fast tests, the notebooks in a quick profile among them; JOBS=4 takes four files at a time
	@$(BIN)/python -m pytest -n $(JOBS) --dist loadfile -m 'not slow'

test-all: $(READY)  ## every test, the slow ones included
	@$(BIN)/python -m pytest

bench: $(READY)  ## how fast: ratios to textbook code (a quarter of an hour, nothing else running); FAST='--precision bf16' adds options
	@$(BIN)/python tests/benchmarks/bench_training.py $(FAST)
	@$(BIN)/python tests/benchmarks/bench_training.py step epoch floor --size 224 --steps 4 --workers 0 $(FAST)
	@$(BIN)/python tests/benchmarks/bench_images.py

lab: $(READY)  ## JupyterLab on the whole project, the first notebook open
	@$(BIN)/jupyter lab --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb

notebooks: $(READY)  ## run every notebook in place, as committed
	@$(BIN)/python notebooks/execute.py --in-place

lint: $(READY)  ## style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check nla tests
	@$(BIN)/mypy

clean:  ## remove the runs, caches and executed notebooks, keep .venv and data sets
	rm -rf data/runs data/cache data/executed .pytest_cache .ruff_cache
