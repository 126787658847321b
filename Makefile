# `make demo` and `make test` are all a newcomer needs; `make` alone lists the rest.

PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
STAGE := $(PYTHON) tools/stage.py

# What may be set on the command line: `make unit PYTEST_ARGS="-n 0 -x tests/data"`.
DEMO ?= $(BIN)/polymodal study study=sample/two_stage_short
PYTEST_ARGS ?= -n 2
BENCH ?= $(BIN)/python -m benchmarks
# LOCK=cpu or LOCK=cuda takes that lock without asking whether the CPU build can be had.
LOCK ?= auto
# UPGRADE=--upgrade lets `make lock` move to newer releases.
UPGRADE ?=

# One thread a test process: PyTorch's own threads would fight the workers for the cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help venv demo test format lint types browser unit doctest fix soak bench lock versions clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

venv: $(INSTALLED) ## make .venv from the locked, hashed requirements (a second call installs nothing)

$(INSTALLED): pyproject.toml requirements/build.txt requirements/cpu.txt requirements/cuda.txt
	@$(STAGE) run venv -- $(PYTHON) tools/make_environment.py --lock $(LOCK) --stamp $@

demo: venv ## encoders, deep fusion over their embeddings, and votes on the sample
	@$(STAGE) run demo -- $(DEMO)

test: venv ## every check: format, lint, types, tests, examples
	@$(STAGE) all format lint types unit doctest

format: venv ## is the code formatted?
	@$(STAGE) run format -- $(BIN)/ruff format --check .

lint: venv ## ruff's rules
	@$(STAGE) run lint -- $(BIN)/ruff check .

types: venv ## ty first (quick), then mypy --strict
	@$(STAGE) run ty -- $(BIN)/ty check --output-format concise
	@$(STAGE) run mypy -- $(BIN)/mypy

browser: ## Chromium for the tests of `polymodal ui`, where it is missing and apt-get may bring it
	@command -v chromium >/dev/null || $(STAGE) run browser -- sh tools/browser.sh

unit: venv browser ## the tests, without the slow ones
	@$(STAGE) run unit -- env $(PYTEST) -m "not slow" $(PYTEST_ARGS)

doctest: venv ## the examples in the docstrings
	@$(STAGE) run doctest -- env $(PYTEST) --doctest-modules src/polymodal

fix: venv ## format the code and mend what ruff can mend
	@$(STAGE) run fix -- $(BIN)/ruff check --fix .
	@$(STAGE) run format -- $(BIN)/ruff format .

soak: venv ## the slow tests
	@$(STAGE) run soak -- env $(PYTEST) -m slow

bench: venv ## measure against peers and limits
	@$(STAGE) run bench -- $(BENCH)

lock: ## resolve requirements/*.txt anew (UPGRADE=--upgrade for newer releases)
	@$(STAGE) run lock -- sh tools/lock.sh $(UPGRADE)

versions: ## test against the oldest and newest releases that are allowed (20 minutes, 7 GB)
	@$(STAGE) run versions -- $(PYTHON) tools/test_versions.py

clean: ## remove the environment and every cache
	rm -rf .venv .lock-venv .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist
	find src tests tools -name __pycache__ -type d -prune -exec rm -rf {} +
