# `make demo` and `make test` need nothing but Python >= 3.10 and make: they install into .venv.

PYTHON ?= python3
# pytest processes: on few cores faster than one process with all threads
WORKERS ?= 2
# passed on to pytest, for instance: make test ARGS="-k focal"
ARGS ?=
PYTEST := -m pytest -q -n $(WORKERS) --dist worksteal
# one torch thread each; compiled files are kept, which the processes that tests start find then
TEST_ENV := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=
# prints the slowest tests at the end
DURATIONS := --durations=25
OUT ?= demo_output
# the torch of make test-floor. The oldest allowed is torch==2.6.0, whose wheel brings gigabytes of
# CUDA on Linux; by default it is the version of constraints.txt, which is installed already
FLOOR_TORCH ?= $(TORCH)

VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
WHEEL := .venv-wheel
WHEEL_INSTALL := $(WHEEL)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
# every extra that a page names
WHEEL_EXTRAS := compare,demo,excel,onnx,optuna,parquet,plot,tables
# and what pages tell the reader to install by name. Not wandb (docs/tracking.md), which starts a service beside
# Python and is made for an account, and not transformers (docs/sequences.md), which is large: release/pages.py
# leaves out the blocks that import them. The tests run that of wandb with a stand-in, and both blocks with the
# packages themselves where they are installed.
WHEEL_MORE := alembic dask distributed fastapi httpx2 mlflow-skinny optuna-integration pandas pytest sqlalchemy tensorboard uvicorn
FLOOR := .venv-floor
FLOOR_INSTALL := $(FLOOR)/bin/python -m pip install --quiet --disable-pip-version-check
TORCH := $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help demo quick test test-floor lint typecheck bench study docs docs-links losses-page plots-page \
	build check-wheel address release-check clean distclean

help:
	@echo "make demo         compare losses and SMOTE on real imbalanced data; figures in $(OUT)/"
	@echo "make quick        lint, type check, run the tests that are not slow: less than two minutes"
	@echo "make test         lint, type check, run all tests (ARGS=... goes to pytest)"
	@echo "make test-floor   all tests with the oldest dependencies allowed (FLOOR_TORCH=torch==2.6.0)"
	@echo "make docs         build docs/_build/html, which runs the examples; any warning is an error"
	@echo "make lint         ruff: rules and formatting; codespell"
	@echo "make typecheck    mypy, strict"
	@echo "make bench        one table of speed, compared with the last release (ARGS=--keep keeps it)"
	@echo "make study        continue the study of remedies on many data sets; write docs/study.md"
	@echo "make docs-links   check the external links of the documentation; needs the network"
	@echo "make losses-page  write docs/losses.md and its pictures from the docstrings of the losses"
	@echo "make plots-page   draw the pictures of docs/plotting.md and docs/index.md"
	@echo "make build        build the wheel and the source archive in dist/, and check them"
	@echo "make check-wheel  run the code of all pages and examples with the built wheel and its extras"
	@echo "make release-check  what is left to do before a release (RELEASING.md)"
	@echo "make clean        remove caches, builds and $(OUT)/; make distclean removes the environments, too"

demo: $(VENV)/.stamp-demo
	@echo "==> losses and SMOTE compared on imbalanced data"
	@$(BIN)/python examples/compare_with_smote.py --out $(OUT)
	@echo "==> shape of the focal loss"
	@$(BIN)/python examples/gallery.py examples/plot_focal_loss_shape.py --out $(OUT)
	@echo "==> figures:"
	@ls $(OUT)/*.png

quick: lint typecheck
	@echo "==> pytest, without the slow tests, $(WORKERS) processes"
	@$(TEST_ENV) $(BIN)/python $(PYTEST) -m "not slow" $(ARGS)

test: lint typecheck
	@echo "==> pytest, $(WORKERS) processes"
	@$(TEST_ENV) $(BIN)/python $(PYTEST) $(DURATIONS) $(ARGS)

test-floor: $(FLOOR)/.stamp-test
	@echo "==> pytest with the oldest dependencies, $(WORKERS) processes"
	@$(TEST_ENV) $(FLOOR)/bin/python $(PYTEST) $(DURATIONS) $(ARGS)

lint: $(VENV)/.stamp-dev
	@echo "==> ruff check"
	@$(BIN)/ruff check --quiet .
	@echo "==> ruff format --check"
	@$(BIN)/ruff format --quiet --diff .
	@echo "==> codespell"
	@$(BIN)/codespell

typecheck: $(VENV)/.stamp-dev
	@echo "==> mypy"
	@$(BIN)/mypy

bench: $(VENV)/.stamp-demo
	@echo "==> speed against other packages, and against the matrix products alone"
	@$(BIN)/python benchmarks/bench.py $(ARGS)

study: $(VENV)/.stamp-demo
	@$(BIN)/python benchmarks/study.py
	@$(BIN)/python benchmarks/study_page.py

docs: $(VENV)/.stamp-docs
	@echo "==> sphinx"
	@OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --builder html --fail-on-warning --keep-going \
		--nitpicky --quiet docs docs/_build/html
	@echo "==> links inside the pages"
	@$(BIN)/python docs/check_links.py docs/_build/html
	@echo "==> open docs/_build/html/index.html"

docs-links: $(VENV)/.stamp-docs
	@OMP_NUM_THREADS=1 $(BIN)/python -m sphinx --builder linkcheck --quiet \
		-D plot_gallery=0 docs docs/_build/linkcheck

losses-page: $(VENV)/.stamp-plot
	@$(BIN)/python docs/make_losses_page.py

plots-page: $(VENV)/.stamp-plot
	@$(BIN)/python docs/make_plots.py
	@$(BIN)/python docs/make_overview.py

build: $(VENV)/.stamp-build
	@echo "==> wheel and source archive"
	@rm -rf dist
	@$(BIN)/python -m build --no-isolation --outdir dist . >/dev/null
	@$(BIN)/twine check --strict dist/*

# in an environment of its own, which gets the wheel and what its extras ask for, and no checkout
check-wheel: build
	@echo "==> creating $(WHEEL) with $(PYTHON)"
	@test -d $(WHEEL) || $(PYTHON) -m venv $(WHEEL)
	@$(WHEEL_INSTALL) '$(TORCH)'
	@$(WHEEL_INSTALL) "$$(ls dist/*.whl)[$(WHEEL_EXTRAS)]" $(WHEEL_MORE)
	@$(WHEEL_INSTALL) --no-deps --force-reinstall dist/*.whl
	@OMP_NUM_THREADS=1 $(WHEEL)/bin/python release/pages.py $(ARGS)

address:
	@$(PYTHON) release/address.py $(ADDRESS)

release-check:
	@$(PYTHON) release/check.py $(TAG)

$(VENV)/.stamp-venv:
	@echo "==> creating $(VENV) with $(PYTHON)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
		|| { echo "imbtorch needs Python >= 3.10; choose one with make PYTHON=..."; exit 1; }
	@$(PYTHON) -m venv $(VENV)
	@touch $@

# torch is installed first and by itself, so that pip takes a build of this version that it has
$(VENV)/.stamp-torch: $(VENV)/.stamp-venv constraints.txt
	@echo "==> installing $(TORCH)"
	@$(INSTALL) '$(TORCH)'
	@touch $@

$(VENV)/.stamp-%: pyproject.toml constraints.txt $(VENV)/.stamp-torch
	@echo "==> installing imbtorch[$*]"
	@$(INSTALL) -e '.[$*]'
	@touch $@

$(FLOOR)/.stamp-test: pyproject.toml constraints-floor.txt
	@echo "==> creating $(FLOOR) with $(PYTHON), $(FLOOR_TORCH)"
	@$(PYTHON) -m venv $(FLOOR)
	@$(FLOOR_INSTALL) '$(FLOOR_TORCH)'
	@$(FLOOR_INSTALL) -c constraints-floor.txt '$(FLOOR_TORCH)' -e '.[test]'
	@touch $@

clean:
	@rm -rf $(OUT) build dist docs/_build docs/auto_examples docs/api .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find imbtorch tests examples benchmarks docs -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean
	@rm -rf $(VENV) $(FLOOR) $(WHEEL)
