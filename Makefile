# `make figures` and `make test` do all their own set-up, once, in .venv, and `make benchmark` its own, with those
# that it compares with, in .venv-peers: they need Python >= 3.11 and make.
# Another interpreter: `make test PYTHON=python3.12`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PEERS := .venv-peers
GRADING := build/grading
# nbgrader calls its own helper by its name.
handout grade: export PATH := $(abspath $(BIN)):$(PATH)
# What `make browser` asks whether everybody can read a page.
AXE_VERSION := 4.14.1
AXE := build/axe-core/package/axe.min.js
# What shows formulas in the book; it is shipped in the site, which then loads nothing from elsewhere.
MATHJAX_VERSION := 3.2.2
MATHJAX := build/mathjax/package/es5/tex-svg.js
# What moves the slides, shipped beside them.
REVEAL_VERSION := 5.2.1
REVEAL := build/reveal.js/package/dist/reveal.js
# Notebooks run in a kernel of their own, where a warning is an error; only ipykernel's own at shutdown is not.
KERNEL := alignment-bandits
KERNEL_WARNINGS := error,ignore:For consistency across implementations:PendingDeprecationWarning

export OMP_NUM_THREADS ?= 1
export PIP_DISABLE_PIP_VERSION_CHECK ?= 1

.PHONY: help figures lab test course lint book slides browser handout grade benchmark verdicts clean
.DELETE_ON_ERROR:

help: ## show this list
	@sed -n 's/^\([a-z]*\):.*## /make \1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 18

figures: $(VENV)/.core ## regenerate figures/ and print the table of claims
	$(BIN)/python -m bandits figures

lab: $(VENV)/.all ## open JupyterLab on the course
	$(BIN)/jupyter lab --notebook-dir notebooks

# mypy reads the types while pytest starts and runs: it takes half a minute of one core.
test: $(VENV)/.all ## check style and types, and run every test, doctest and notebook
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	@mkdir -p build
	@echo 'The types are checked meanwhile; what mypy says of them stands behind the tests.'
	@$(BIN)/mypy $(wildcard bandits llm) > build/types.txt 2>&1 & types=$$!; \
	    $(BIN)/python -m pytest -n 2 --dist worksteal --nbmake --nbmake-kernel=$(KERNEL); tests=$$?; \
	    wait $$types; right=$$?; cat build/types.txt; exit $$((tests + right))

course: $(VENV)/.all ## run every notebook at its full size; `make test` runs them small
	COURSE=full $(BIN)/python -m pytest --nbmake --nbmake-kernel=$(KERNEL) --nbmake-timeout=3600 notebooks

browser: book $(AXE) ## read the course as readers do, in the system's Chromium: build/screenshots
	$(BIN)/python -m pytest tests/browser -m browser -s

book: $(VENV)/.book $(MATHJAX) ## build the course as a site that needs no network: build/book/html/index.html
	TQDM_DISABLE=1 $(BIN)/python notebooks/book/assemble.py build/book/source
	$(BIN)/sphinx-build -nW --keep-going -q -c notebooks/book build/book/source build/book/html
	$(BIN)/python notebooks/book/site_check.py build/book/html

slides: $(VENV)/.book $(MATHJAX) $(REVEAL) ## make slides of every notebook: build/slides/*.slides.html
	rm -rf build/slides
	$(BIN)/python notebooks/book/slides.py build/slides

handout: $(VENV)/.grading ## make the learners' notebooks, without solutions: build/grading/release
	$(BIN)/python -m bandits.teaching $(GRADING) notebooks/*.ipynb
	cd $(GRADING) && for each in $(or $(NOTEBOOK),$$(ls source)); do nbgrader generate_assignment $$each --create --force; done

grade: $(VENV)/.grading ## grade HANDED_IN=folder, of <learner>/<notebook>.ipynb: build/grading/grades.csv
	$(BIN)/python -m bandits.teaching $(GRADING) --handed-in $(HANDED_IN)
	cd $(GRADING) && for each in $(or $(NOTEBOOK),$$(ls submitted/* | grep -v : | sort -u)); do nbgrader autograde $$each; done
	cd $(GRADING) && nbgrader export --to grades.csv && cat grades.csv

benchmark: $(PEERS)/.all ## compare speed and memory with the alternatives, side by side
	$(PEERS)/bin/python -m pytest tests/benchmarks -m benchmark -s

verdicts: $(PEERS)/.alone ## lay other trainers beside the algorithms: figures/verdicts.json and .md
	PYTHONPATH=tests $(PEERS)/bin/python -m verdicts

clean: ## remove caches and build output (the set-up goes with `rm -rf .venv*`)
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .mypy_cache .hypothesis notebooks/.hypothesis
	rm -rf notebooks/.ipynb_checkpoints notebooks/.virtual_documents
	find . \( -path ./$(VENV) -o -path ./$(PEERS) \) -prune -o -name __pycache__ -type d -exec rm -rf {} +

# The set-up: each stamp says that its step succeeded with these two files.

%/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo 'Python >= 3.11 is needed: name one with `make PYTHON=/path/to/python3`.' >&2; exit 1; }
	$(PYTHON) -m venv $*
	@touch $@

$(VENV)/.core: $(VENV)/.python pyproject.toml constraints.txt
	@echo 'Installing NumPy, SciPy and Matplotlib into $(VENV): about half a minute, once.'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.all: $(VENV)/.core
	@echo 'Installing PyTorch, transformers, Jupyter and the test tools into $(VENV): a few minutes, once.'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,dask,llm,lora,notebooks]'
	$(BIN)/python -m ipykernel install --sys-prefix --name $(KERNEL) --env PYTHONWARNINGS '$(KERNEL_WARNINGS)'
	@touch $@

$(VENV)/.book: $(VENV)/.all
	@echo 'Installing Sphinx and Playwright (which drives the Chromium of the system) into $(VENV): half a minute, once.'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[book,browser]'
	@touch $@

$(AXE):
	@mkdir -p build/axe-core
	cd build/axe-core && tar -xzf "$$(npm pack --silent axe-core@$(AXE_VERSION))"

$(MATHJAX):
	@command -v npm > /dev/null || { echo 'npm is needed, once, to fetch MathJax: install Node.js.' >&2; exit 1; }
	@mkdir -p build/mathjax
	cd build/mathjax && tar -xzf "$$(npm pack --silent mathjax@$(MATHJAX_VERSION))"
	@touch $@

$(REVEAL):
	@command -v npm > /dev/null || { echo 'npm is needed, once, to fetch reveal.js: install Node.js.' >&2; exit 1; }
	@mkdir -p build/reveal.js
	cd build/reveal.js && tar -xzf "$$(npm pack --silent reveal.js@$(REVEAL_VERSION))"
	@touch $@

$(VENV)/.grading: $(VENV)/.all
	@echo 'Installing nbgrader into $(VENV): half a minute, once.'
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[grading]'
	@touch $@

$(PEERS)/.all: $(PEERS)/.python pyproject.toml constraints.txt
	@echo 'Installing the peers (JAX, TRL, OpenSpiel) beside PyTorch into $(PEERS): a few minutes, once.'
	$(PEERS)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,llm,peers]'
	@touch $@

# Their loss functions alone, without what they train with.
$(PEERS)/.alone: $(PEERS)/.all
	$(PEERS)/bin/python -m pip install --quiet --no-deps --upgrade --target $(PEERS)/alone \
	    --constraint constraints.txt openrlhf verl omegaconf antlr4-python3-runtime tensordict pyvers cloudpickle
	@touch $@
