# make demo   installs into .venv and runs the whole job on the bundled notes
# make test   installs the test extras and runs the test suite
PYTHON ?= python3
BIN := .venv/bin
STAMP := $(shell date +%Y%m%d-%H%M%S)

.PHONY: demo test test-slow lint data clean

.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/installed-test: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $@

demo: .venv/installed
	$(BIN)/clinnlp demo --out runs/demo-$(STAMP)

test: .venv/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n 2 --durations 20

test-slow: .venv/installed-test
	$(BIN)/python -m pytest -m slow

lint: .venv/installed-test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/mypy

data: .venv/installed
	$(BIN)/python data/generate.py --seed 7 --out data

clean:
	rm -rf .venv build dist
