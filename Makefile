# Everything runs in .venv, made from requirements.lock; `make PYTHON=python3.13 ...` uses another interpreter.
PYTHON ?= python3
UV_VERSION = 0.13.9
VENV ?= .venv
UV = $(or $(shell command -v uv 2>/dev/null),.tools/bin/uv)
RUN = $(VENV)/bin/python
READY = $(VENV)/.ready-$(notdir $(PYTHON))
LOCK = $(UV) pip compile -q --universal --generate-hashes --no-emit-index-url --no-header

.PHONY: help demo test test-unit claims check report docs notebooks bench lock clean
help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/:/' | column -t -s ':'

.tools/bin/uv:
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --target .tools uv==$(UV_VERSION)

$(READY): pyproject.toml requirements.lock | $(filter .tools/bin/uv,$(UV))
	$(UV) venv -q --clear --python "$$($(PYTHON) -c 'import sys; print(sys.executable)')" $(VENV)
	$(UV) pip sync -q --python $(RUN) --require-hashes requirements.lock
	$(UV) pip install -q --python $(RUN) --no-deps -e .
	@touch $@

demo: $(READY)  ## the flagship experiment on embedded real data: claims, figures, report
	$(RUN) -m experiments run gaussian_score --preset quick
	$(RUN) -m experiments report

test: $(READY)  ## the whole suite
	$(RUN) -m pytest -n 2 --dist loadfile

test-unit: $(READY)  ## the library's tests, single- and eight-device, without whole experiment runs; TESTS=... for some
	$(RUN) -m pytest -n 2 --dist loadfile -m "not runs" $(TESTS)

claims: $(READY)  ## every quick preset; fails on a failing claim
	$(RUN) -m experiments run all --preset quick

check: $(READY)  ## lint, format, types, import floors
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/basedpyright
	$(VENV)/bin/lint-imports

report: $(READY)  ## one offline HTML page over the newest runs
	$(RUN) -m experiments report

docs: $(READY)  ## the site, in docs/_build/html, from docstrings and recorded runs
	$(RUN) -m sphinx -W --keep-going -q docs docs/_build/html
	@echo docs/_build/html/index.html

notebooks: $(READY)  ## notebooks/*.ipynb from notebooks/*.py, each run once
	$(RUN) notebooks/_make.py

PEERS = import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['dependency-groups']['peers'])
$(VENV)/.peers: $(READY)
	$(RUN) -c "$(PEERS)" | xargs $(PYTHON) -m pip --python $(RUN) install --quiet --disable-pip-version-check
	@touch $@

bench: $(VENV)/.peers  ## install the peers (torch is large) and time our functions beside them; SLUG=... for one paper
	$(RUN) -m experiments bench $(SLUG)

lock: | $(filter .tools/bin/uv,$(UV))  ## resolve requirements.lock again
	$(LOCK) --extra runtime --extra nnx --group dev pyproject.toml -o requirements.lock

clean:  ## remove environments and caches, keep runs
	rm -rf .venv .venv-* .tools .pytest_cache .ruff_cache .hypothesis
