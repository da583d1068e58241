# Every target does all its set-up: a virtual environment in .venv with pinned versions.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
DOCS_STAMP := .venv/.installed-docs

.PHONY: demo test test-all fuzz lint docs bench bench-gpu clean

demo: $(STAMP)
	$(BIN)/xbar run digits --out runs/demo --resume
	@echo "open runs/demo/report.html"

# A process for each core, each of one thread: threads of two that wait for each other spin.
test: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slow" --numprocesses auto --dist worksteal --durations 20

test-all: $(STAMP)
	$(BIN)/python -m pytest

# Properties on examples that nobody has tried yet; one that fails is kept in .hypothesis and tried first next time.
fuzz: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "hypothesis and not slow" --hypothesis-profile fuzz \
		--numprocesses auto --dist worksteal

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(DOCS_STAMP)
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --fresh-env --quiet docs build/docs
	@echo "open build/docs/index.html"

bench: $(STAMP)
	$(BIN)/python benchmarks/run.py

# Times on the accelerator that torch finds; without one it says so and measures nothing.
bench-gpu: $(STAMP)
	$(BIN)/python benchmarks/accelerator.py

clean:
	rm -rf .venv build *.egg-info

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "xbar needs Python 3.11 or newer; this is $$($(PYTHON) --version). Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv .venv || { echo "python3-venv is missing: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt torch
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@touch $(STAMP)

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	@touch $(DOCS_STAMP)
