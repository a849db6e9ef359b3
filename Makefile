# Two commands do all the set-up, from nothing but Python, pip and make: `make demo` (plans a run) and `make test`.
# An environment is rebuilt when pyproject.toml changes. Its stamp is written last: an interrupted install starts over.

PYTHON ?= python3
# One exact PyTorch for every test. CONTRIBUTING.md says how to get the small CPU build of it.
TORCH ?= torch==2.13.0
WORKERS ?= auto

DEMO := .venv-demo
TEST := .venv-test
DOCS := .venv-docs
PIP = $(@D)/bin/python -m pip install -qq --disable-pip-version-check

# Recipes of a fresh environment, and the requirements of one extra of pyproject.toml.
new-venv = $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer: make PYTHON=...")' \
	&& rm -rf $(@D) && $(PYTHON) -m venv $(@D)
extra = $(PYTHON) -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"][ \
	"optional-dependencies"]["$(1)"], sep="\n")'

.PHONY: help demo test lint docs bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-6s %s\n", $$1, $$2 }' Makefile

demo: $(DEMO)/stamp ## plan a real model's run; installs only what planning needs
	$(DEMO)/bin/forescale plan --config examples/llama-3-8b/config.json --tokens-per-param 20

test: $(TEST)/stamp ## every test but the slow ones, in parallel, with coverage
	OMP_NUM_THREADS=1 $(TEST)/bin/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow" --cov=forescale

lint: $(TEST)/stamp ## ruff (rules and format) and pyright (strict)
	$(TEST)/bin/ruff check .
	$(TEST)/bin/ruff format --check .
	$(TEST)/bin/pyright --pythonpath $(TEST)/bin/python

docs: $(DOCS)/stamp ## the documentation site in site/; a broken link or a missing page is an error
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict

bench: $(TEST)/stamp ## the slow tests, then every benchmark; numbers go to benchmarks/results/
	$(TEST)/bin/python -m pytest -m slow || [ $$? -eq 5 ]  # 5: no test is marked slow
	set -e; for script in $(wildcard benchmarks/bench_*.py); do echo "== $$script"; $(TEST)/bin/python $$script; done

clean: ## remove the environments and everything that was built
	rm -rf $(DEMO) $(TEST) $(DOCS) site dist build .coverage .coverage.* .pytest_cache .ruff_cache .hypothesis

$(DEMO)/stamp: pyproject.toml
	$(new-venv)
	$(PIP) rich cyclopts
	$(PIP) --no-deps --editable .
	@touch $@

# One resolution, so that nothing can move PyTorch off its pin.
$(TEST)/stamp: pyproject.toml
	$(new-venv)
	$(PIP) '$(TORCH)' --editable '.[dev]'
	@touch $@

$(DOCS)/stamp: pyproject.toml
	$(new-venv)
	$(call extra,docs) >$(@D)/requirements.txt
	$(PIP) --requirement $(@D)/requirements.txt
	@touch $@
