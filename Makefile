# make demo         a first look: sets everything up, then draws out/demo/sheet.png
# make test         sets everything up, then runs the tests
# make test-floors  the same with the lowest versions that pyproject.toml names, in an environment of their own
# make check        what CI runs: lint, types, test

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
FLOORS ?= .venv-floors
# Not held to its floor unless this is emptied (make test-floors FLOORS_EXCEPT=): old wheels of torch bring gigabytes of CUDA.
FLOORS_EXCEPT ?= torch

.PHONY: venv demo test test-floors lint types check

venv: $(INSTALLED)

# Again only when pyproject.toml has changed: the package itself is installed in place.
$(INSTALLED): pyproject.toml
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV) (the first time takes a few minutes)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/distok demo --out out/demo

test: $(INSTALLED)
	$(BIN)/python -m pytest -n 2

$(FLOORS)/.installed: pyproject.toml tests/floors.py
	@rm -rf $(FLOORS) && $(PYTHON) -m venv $(FLOORS)
	@$(PYTHON) tests/floors.py $(FLOORS_EXCEPT) > $(FLOORS)/floors.txt
	@echo "installing the floors into $(FLOORS) (a few minutes)"
	@$(FLOORS)/bin/python -m pip install --quiet --disable-pip-version-check -c $(FLOORS)/floors.txt -e ".[dev]"
	@touch $@

test-floors: $(FLOORS)/.installed
	$(FLOORS)/bin/python -m pytest -n 2

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

check: lint types test
