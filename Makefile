# Two commands do everything on a bare machine: `make demo` and `make test`.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DEMO_HOME ?= $(CURDIR)/demo
PYTEST_ARGS ?=

.PHONY: demo test test-slow test-k8s test-k8s-slow dev lint format clean
.DEFAULT_GOAL := demo

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "cell_assets needs Python 3.11 or newer; run: make PYTHON=/path/to/python3.11 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --progress-bar off --disable-pip-version-check --constraint constraints.txt --editable '.[lab,dev]'
	@touch $@

demo: $(STAMP)  ## simulate a small experiment, run the whole graph, explain one number
	CELL_ASSETS_HOME=$(DEMO_HOME) $(BIN)/cell-assets demo

# Two processes, each with the test files that it takes: on two cores that is half of the time.
test: $(STAMP)  ## all tests but the long truth-finding ones
	$(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

test-slow: $(STAMP)  ## the long truth-finding runs
	$(BIN)/python -m pytest -m 'slow and not needs_kubernetes' $(PYTEST_ARGS)

# Where Kubernetes cannot be built, the tests' summary says why; `--fail-on-skip` makes that a failure.
test-k8s: $(STAMP)  ## tests on a real Kubernetes API, which is built first if it is missing (4 minutes)
	-$(BIN)/python -m cell_assets_tests.k8s.cluster.programs
	$(BIN)/python -m pytest -m 'not slow' -rs cell_assets_tests/k8s $(PYTEST_ARGS)

test-k8s-slow: $(STAMP)  ## the long ones on that Kubernetes: trainings whose pods are lost, runs whose worker is lost
	-$(BIN)/python -m cell_assets_tests.k8s.cluster.programs
	$(BIN)/python -m pytest -m 'slow and needs_kubernetes' -rs cell_assets_tests/k8s $(PYTEST_ARGS)

dev: $(STAMP)  ## Dagster UI, daemon and MLflow UI
	$(BIN)/cell-assets dev

lint: $(STAMP)  ## style, types and import contracts
	$(BIN)/ruff check cell_assets cell_assets_tests benchmarks
	$(BIN)/ruff format --check cell_assets cell_assets_tests benchmarks
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff format cell_assets cell_assets_tests benchmarks
	$(BIN)/ruff check --fix cell_assets cell_assets_tests benchmarks

clean:
	rm -rf .venv build demo test-output
