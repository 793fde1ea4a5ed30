# `make demo` and `make test` need nothing but Python 3.11 to 3.13 and a package index.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
PY := $(VENV)/bin/python
# Test processes; 0 runs the tests in one process, with all cores for torch.
JOBS ?= 2
PYTEST_ARGS ?=
FUZZ_ARGS ?=
DEMO_ARGS ?=
SOAK_ARGS ?=
AUDIT_ARGS ?=

# Twice quiet: only errors. A note on an index that lacks a package is no news.
PIP_INSTALL := $(PY) -m pip install -qq --disable-pip-version-check --no-input -c constraints.txt
# The build backend is pinned as well (the first name is read by older pips, the second by newer).
export PIP_CONSTRAINT := constraints.txt
export PIP_BUILD_CONSTRAINT := constraints.txt

# The core: checked strictly by mypy, and free of torch. A module may be a file or a package.
CORE := records printing spec infilling rope contexts answers cleaning personal preferences redaction removing hangul filters responses rules tasks selecting aliases sources growing adapters averaging unfreezing trackers stages recipe schedule advice budget importing report plan packing
CORE_PATHS := $(wildcard $(foreach m,$(CORE),src/samdan/$(m).py src/samdan/$(m)))

ifeq ($(JOBS),0)
XDIST :=
else
XDIST := -n $(JOBS) --dist loadfile
test test-all oldest: export OMP_NUM_THREADS := 1
endif

# What `make oldest` runs: training, resuming, export, the models' parts, recipes and the commands.
OLDEST_TESTS := $(wildcard $(foreach t,smoke run resume split bf16 processes export,tests/e2e/test_$(t).py) \
  $(foreach t,adapters attention averaging chat chat_templates compiled copies docs_commands dropout \
    exporting growing_depth head loading merge_command merging model_card monitors objectives optim packing \
    processes readers recipes rope rows spec state tensors unfreezing varlen vocabulary watchdog writer,tests/unit/test_$(t).py))

.PHONY: help demo test test-all oldest lint soak fuzz lock licenses sbom audit site clean

help:  ## show the targets
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  make \1|\2/p' Makefile | column -t -s '|'
	@echo "  Variables: PYTHON, VENV, JOBS (test processes), PYTEST_ARGS, DEMO_ARGS, SOAK_ARGS"

demo: $(VENV)/.core  ## install, then run the three stages on a small made-up world
	@$(VENV)/bin/samdan demo $(DEMO_ARGS)

test: lint  ## install with the test extra, lint, and run the test suite
	@$(PY) -m pytest -q $(XDIST) -m "not slow and not gpu and not network" $(PYTEST_ARGS)

test-all: lint  ## the same with every test and the types of all modules
	@$(PY) -m mypy
	@$(PY) -m pytest -q $(XDIST) $(PYTEST_ARGS)

oldest: $(VENV)/.oldest  ## the training path's tests with the least version of every core dependency (4.9 GB)
	@$(VENV)/oldest/bin/python -m pytest -q $(XDIST) -m "not slow and not gpu and not network" $(OLDEST_TESTS) $(PYTEST_ARGS)

lint: $(VENV)/.test  ## ruff on everything, mypy on the core
	@$(PY) -m ruff check --quiet .
	@$(PY) -m mypy --no-error-summary $(CORE_PATHS)

soak: $(VENV)/.test  ## kill the demo 50 times at random; its weights end as those of a calm run
	@$(PY) tests/soak.py $(SOAK_ARGS)

fuzz: $(VENV)/.test  ## 22,000 changed inputs to everything that reads one (FUZZ_ARGS="--seed 7 --seconds 600")
	@PYTHONPATH=tests OMP_NUM_THREADS=1 $(PY) -m fuzz $(FUZZ_ARGS)

lock: $(VENV)/.audit  ## write requirements.lock: every dependency with its hashes
	@$(VENV)/audit/bin/python scripts/lock.py

licenses: $(VENV)/.test  ## write docs/licenses.md; fails on a licence that is not permissive
	@$(PY) scripts/licenses.py

sbom: $(VENV)/.core  ## write build/sbom.json: a bill of materials (CycloneDX) of what is installed
	@mkdir -p build && $(PY) scripts/sbom.py > build/sbom.json && echo build/sbom.json

audit: $(VENV)/.audit  ## ask for known vulnerabilities of everything in requirements.lock (network)
	@$(VENV)/audit/bin/python scripts/audit.py $(AUDIT_ARGS)

site: $(VENV)/.docs  ## build the documentation into build/site; broken links and outside resources end it
	@$(PY) -m mkdocs build --quiet --clean
	@echo "build/site/index.html; with its search: $(PY) -m http.server --bind 127.0.0.1 --directory build/site"

clean:  ## remove the environment, caches and build outputs; runs/ stays
	@rm -rf $(VENV) build dist .pytest_cache .hypothesis .ruff_cache .mypy_cache src/*.egg-info
	@find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment: made once, installed again when what it depends on changes ---

$(VENV)/.made:
	@usable() { "$$1" -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; }; \
	for python in $(or $(PYTHON),python3.11 python3 python3.12 python3.13); do \
	  if usable "$$python"; then \
	    echo "Making $(VENV) with $$("$$python" -V)"; \
	    "$$python" -m venv --clear $(VENV); \
	    touch $@; exit 0; \
	  fi; \
	done; \
	echo "samdan needs Python 3.11, 3.12 or 3.13 with its venv module, and none was found" >&2; \
	echo "(tried: $(or $(PYTHON),python3.11 python3 python3.12 python3.13))." >&2; \
	echo "Install one (on Debian and Ubuntu: python3.11 and python3.11-venv), or name it: make demo PYTHON=..." >&2; \
	exit 1

$(VENV)/.core: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing samdan into $(VENV) (about 1.4 GB; once)"
	@$(PIP_INSTALL) -e .
	@touch $@

$(VENV)/.docs: $(VENV)/.made pyproject.toml constraints.txt
	@$(PIP_INSTALL) "mkdocs>=1.6.1,<2" "pygments>=2.18"
	@touch $@

# With the test extra the core is there as well.
$(VENV)/.test: $(VENV)/.made pyproject.toml constraints.txt
	@echo "Installing samdan and its test tools into $(VENV) (about 1.6 GB; once)"
	@$(PIP_INSTALL) -e '.[test]'
	@touch $(VENV)/.core $@

# torch's build for CUDA comes with them, also where no such device is: the index has no other of old releases.
$(VENV)/.oldest: $(VENV)/.made pyproject.toml constraints.txt constraints-oldest.txt
	@echo "Installing the oldest supported versions into $(VENV)/oldest (about 4.9 GB; once)"
	@$(PY) -m venv --clear $(VENV)/oldest
	@grep -E '^(hypothesis|jsonschema|pytest|pytest-timeout|pytest-xdist)==' constraints.txt > $(VENV)/oldest/tools.txt
	@PIP_CONSTRAINT=constraints-oldest.txt $(VENV)/oldest/bin/python -m pip install -qq \
	  --disable-pip-version-check --no-input -r $(VENV)/oldest/tools.txt -e .
	@touch $@

# In an environment of its own: it looks at the lock, not at what is installed beside it.
$(VENV)/.audit: $(VENV)/.made
	@$(PY) -m venv $(VENV)/audit
	@$(VENV)/audit/bin/python -m pip install -qq --disable-pip-version-check --no-input "pip>=23.3" pip-audit==2.10.1 uv==0.13.9
	@touch $@
