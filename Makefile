# make demo   set up .venv once, export the built-in model for all targets, prove it, time it, and inspect a drawn
#             conveyor with it for some seconds; build/demo holds the clip and the recorded events
# make test   set up .venv once, then format, lint, types, import contracts and tests
# make clean  remove what these two made

# The first of these that runs and is new enough.
IS_NEW := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for name in python3.11 python3.12 python3.13 python3; do \
	$$name -c '$(IS_NEW)' 2>/dev/null && { command -v $$name; break; }; done)
BIN := .venv/bin
READY := .venv/.ready
DEMO := build/demo-bundle
WATCHED := build/demo
TARGETS := rpi intel coral

.PHONY: demo test all-tests format setup clean

demo: setup
	rm -rf $(DEMO)
	$(BIN)/edgecnn export $(TARGETS:%=--target %) -o $(DEMO)
	$(BIN)/edgecnn verify $(DEMO)
	$(BIN)/edgecnn bench $(DEMO)
	rm -rf $(WATCHED)
	$(BIN)/edgecnn demo --headless --seconds 20 --output $(WATCHED)

test: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -n 2 -m 'not slow and not arm'

# Everything, the slow and the emulated ones too, with newly drawn examples.
all-tests: setup
	$(BIN)/python -m pytest -n 2 --hypothesis-profile=new-examples

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

setup: $(READY)

# The stamp depends on what is installed, so that a change of either file sets up again.
$(READY): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "Python 3.11 or newer is needed: install it, or: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "setting up .venv with $(PYTHON): some minutes the first time"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --progress-bar off --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@$(BIN)/edgecnn --version
	@touch $@

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
