# Two commands: `make demo` shows the main job on real images, `make test` runs every check.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO := demo

.PHONY: demo test lint clean

demo: $(VENV)/.installed-base
	rm -rf $(DEMO)
	$(BIN)/classic-cv demo $(DEMO)
	$(BIN)/classic-cv fit $(DEMO) --time-limit 60s --out $(DEMO)/model.safetensors --report $(DEMO)/report.html
	$(BIN)/classic-cv predict $(DEMO)/model.safetensors $$(ls $(DEMO)/test/*/*.png | sed -n '1~75p') --top 3

# Two test processes with a thread each: threads of two that wait for one another take several times as long. Compiled
# files are made beforehand, where the environment keeps Python from it each of many child processes would compile anew.
test: $(VENV)/.installed-all
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m compileall -q classic_cv
	OMP_NUM_THREADS=1 $(BIN)/pytest --numprocesses 2 --dist worksteal

clean:
	rm -rf $(VENV) $(DEMO) dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed-base: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.installed-all: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[deep,serve,dev]'
	touch $@ $(VENV)/.installed-base
