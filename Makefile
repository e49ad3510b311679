# Two environments: .venv holds everything (tests, checks, benchmarks), .venv-demo the light core alone.
PYTHON ?= python3
FULL := .venv/bin
LIGHT := .venv-demo/bin
# Two test processes with as many threads each as there are cores wait for each other: twice the processor time.
# Tests of one file run in one process, files in order: what a file prepares is prepared once, and the longest, of bench, begins early.
PYTEST := OMP_NUM_THREADS=1 $(FULL)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test test-slow lint check fix bench bench-scores bench-noise bench-search evidence evidence-quick evidence-zoo bench-budget bench-budget-zoo bench-isolation

# Where the data sets of the evidence are, and where its networks and all that is measured on them are kept.
EVIDENCE_DATA ?= ../shared/data
EVIDENCE_MODELS ?= ../shared/zoo
EVIDENCE_REPOSITORY ?= bench-out/evidence
EVIDENCE_QUICK := bench-out/evidence-quick
# What fine-tuning of published networks may cost; with a GPU, 13 and 2 measure what is published here.
EVIDENCE_STEP_SECONDS ?= 0.6
EVIDENCE_SEEDS ?= 1

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 16

demo: .venv-demo/ready  ## install the light core, rank the demo repository, say where the HTML report is
	$(LIGHT)/neuralrank demo --out neuralrank-demo.html

setup: .venv/ready  ## install everything: extras and development tools

test: .venv/ready  ## install everything, run the tests
	$(PYTEST)

test-slow: .venv/ready  ## the tests that take minutes
	$(PYTEST) -m slow

lint: .venv/ready  ## format, lint, types, architecture contracts
	$(FULL)/ruff format --check .
	$(FULL)/ruff check .
	$(FULL)/mypy
	$(FULL)/lint-imports

check: lint test  ## all of these, and the tests

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

bench-search: .venv/ready  ## measure how well and how fast searches find, up to a million models, and history as a prior
	$(FULL)/python benchmarks/search/quality.py
	$(FULL)/python benchmarks/search/million.py
	$(FULL)/python benchmarks/history.py

evidence: .venv/ready  ## build the networks of the evidence, measure and score them, write docs/evidence.md (hours; resumable)
	$(FULL)/neuralrank bench build --data $(EVIDENCE_DATA) --repository $(EVIDENCE_REPOSITORY)
	$(FULL)/neuralrank bench truth --data $(EVIDENCE_DATA) --repository $(EVIDENCE_REPOSITORY)
	$(FULL)/neuralrank bench score --data $(EVIDENCE_DATA) --repository $(EVIDENCE_REPOSITORY)
	$(FULL)/neuralrank bench report

evidence-zoo: .venv/ready  ## the same for networks that other people published (hours; resumable)
	$(FULL)/neuralrank bench zoo --models $(EVIDENCE_MODELS) --data $(EVIDENCE_DATA) --repository $(EVIDENCE_REPOSITORY) \
		--limit-seconds-per-step $(EVIDENCE_STEP_SECONDS) --seeds $(EVIDENCE_SEEDS)

evidence-quick: .venv/ready  ## twelve networks and two targets, in minutes
	$(FULL)/neuralrank bench build --grid quick --data $(EVIDENCE_DATA) --repository $(EVIDENCE_QUICK)
	$(FULL)/neuralrank bench truth --grid quick --data $(EVIDENCE_DATA) --repository $(EVIDENCE_QUICK) --tables $(EVIDENCE_QUICK)/tables
	$(FULL)/neuralrank bench score --grid quick --data $(EVIDENCE_DATA) --repository $(EVIDENCE_QUICK) --tables $(EVIDENCE_QUICK)/tables
	$(FULL)/neuralrank bench evaluate --half all --tables $(EVIDENCE_QUICK)/tables

bench-isolation: .venv/ready  ## measure what the walls around a model cost: start-up and throughput
	$(FULL)/python benchmarks/isolation.py --models $(EVIDENCE_MODELS)

bench-budget: .venv/ready  ## hold racing and other strategies against the full run, on recorded trials (hours; resumable)
	$(FULL)/python benchmarks/budget/collect.py --features $(EVIDENCE_REPOSITORY)/features
	for n in 500 1000 5000; do $(FULL)/python benchmarks/budget/collect.py --features $(EVIDENCE_REPOSITORY)/features \
		--n-samples $$n --seeds 0 4 --out bench-out/budget/evidence-$$n || exit 1; done
	$(FULL)/python benchmarks/budget/collect.py --features $(EVIDENCE_REPOSITORY)/zoo/features --out bench-out/budget/zoo_500
	$(FULL)/python benchmarks/budget/budget.py --material evidence
	$(FULL)/python benchmarks/budget/budget.py --material zoo_500
	$(FULL)/python benchmarks/budget/growth.py

bench-budget-zoo: .venv/ready  ## the same for networks of other people on a larger pool (hours; resumable)
	$(FULL)/python benchmarks/budget/zoo.py --models $(EVIDENCE_MODELS) --data $(EVIDENCE_DATA)
	for n in 1000 2000; do $(FULL)/python benchmarks/budget/collect.py --features bench-out/budget/zoo_features \
		--n-samples $$n --out bench-out/budget/zoo_$$n && $(FULL)/python benchmarks/budget/budget.py --material zoo_$$n || exit 1; done

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
