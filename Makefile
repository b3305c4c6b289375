# make book    the whole site, every cell executed, into _build/html
# make test    all tests
PYTHON ?= python3
BIN := .venv/bin

# ipykernel warns of its TCP transport at every start of a kernel; the profile in .ipython silences it.
export IPYTHONDIR := $(CURDIR)/.ipython
# The book's networks are small: more threads do not make them faster, and they disturb one another.
export OMP_NUM_THREADS ?= 1
# nbgrader runs `alembic` by name.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: book test serve exercises audit public lint clean

book: .venv/installed
	$(BIN)/jupyter-book build -W -n --keep-going .

test: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m pytest

# http://localhost:8000
serve: book
	$(BIN)/python -m http.server --directory _build/html 8000

# What is derived from solutions/*/*.md and book/*.md: problem sets as nbgrader and learners get them, and the
# notebooks for Colab.
exercises: .venv/installed
	$(BIN)/python -m scripts.notebooks

audit: .venv/installed
	$(BIN)/normcore audit $(notdir $(wildcard solutions/*))

# What students get, without the answers: _build/public, or `make public TO=../a-clone`; where a person grades the
# answers in words, GRADED=yes leaves out the model answers, too.
public: .venv/installed
	mkdir -p _build
	$(BIN)/python -m scripts.public $(or $(TO),_build/public) $(if $(GRADED),--graded)

lint: .venv/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python -m scripts.format_pages

clean:
	rm -rf _build .ipython .pytest_cache .ruff_cache

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --editable ".[dev]" --constraint constraints.txt
	mkdir -p .ipython/profile_default
	echo "c.IPKernelApp.log_level = 40" > .ipython/profile_default/ipython_kernel_config.py
	touch $@
