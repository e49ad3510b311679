# Two environments: .venv holds everything (tests, checks, benchmarks), .venv-demo the light core alone.
PYTHON ?= python3
FULL := .venv/bin
LIGHT := .venv-demo/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test test-slow check fix bench bench-scores bench-noise

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

demo: .venv-demo/ready  ## install the light core, rank the demo repository, say where the HTML report is
	$(LIGHT)/neuralrank demo --out neuralrank-demo.html

setup: .venv/ready  ## install everything: extras and development tools

test: .venv/ready  ## install everything, run the tests
	$(FULL)/python -m pytest -n 2

test-slow: .venv/ready  ## the tests that take minutes
	$(FULL)/python -m pytest -n 2 -m slow

check: .venv/ready  ## format, lint, types, architecture contracts, tests
	$(FULL)/ruff format --check .
	$(FULL)/ruff check .
	$(FULL)/mypy
	$(FULL)/lint-imports
	$(FULL)/python -m pytest -n 2

fix: .venv/ready  ## format, and mend what the linter can
	$(FULL)/ruff format .
	$(FULL)/ruff check --fix .

bench: .venv/ready  ## measure extraction, caching, memory and ranking quality; see docs/benchmarks.md
	$(FULL)/python benchmarks/extraction.py
	$(FULL)/python benchmarks/zoo_truth.py
	$(FULL)/python benchmarks/zoo_ranking.py

bench-scores: .venv/ready bench-out/reference/ready  ## measure time and memory of every score, beside public code
	$(FULL)/python benchmarks/scores.py

bench-noise: .venv/ready  ## measure which scores prefer noise to weakly informative features
	$(FULL)/python benchmarks/noise.py

.venv-demo/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-demo
	$(LIGHT)/pip install --quiet -c constraints.txt -e .
	touch $@

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(FULL)/pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# Public code to compare with, in a folder of its own; .venv has all that its estimators import.
bench-out/reference/ready:
	$(FULL)/pip install --quiet --no-deps --target bench-out/reference transformer-ranker torchmetrics lightning-utilities
	touch $@
