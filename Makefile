# make demo: from a fresh checkout to a report.   make test: lint, imports, types and all tests.
# make test-wheel: the built wheel in an empty environment.   make test-lowest: the lowest allowed dependencies.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0

.PHONY: demo test test-slow test-wheel test-lowest lint types tests bench clean

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check $(TORCH)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[export,tensorboard]'
	touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
# For the series that it brings; it is not imported, and what it depends on pins an old numpy.
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt --no-deps aeon
	touch $@

demo: $(VENV)/installed
	$(BIN)/archscout run digits

test: lint types tests

lint: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: $(VENV)/installed-test
	$(BIN)/mypy

# One thread for each of two workers: more threads than cores make small operations many times slower.
tests: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow"

test-slow: $(VENV)/installed-test
	$(BIN)/python -m pytest -m slow

test-wheel:
	PYTHON=$(PYTHON) .ci/wheel

test-lowest:
	PYTHON=$(PYTHON) .ci/weekly

bench: $(VENV)/installed-test
	$(BIN)/python -m benchmarks

clean:
	rm -rf $(VENV) .venv-lowest
