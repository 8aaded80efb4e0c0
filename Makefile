# make repro            environment, sample data, the whole pipeline, path of the report [JOBS=2]
# make repro DATA=dir   the same pipeline on your own dataset folder, in runs/<name>/
# make pull             what `make repro` has made, from the repository's own remote: no training
# make test             everything that is missing, then the tests
# make fuzz             damaged files of every kind, COUNT=10000 of them (minutes)
# make test-faults      an end, a full disk, a flipped byte at every place where files change; two at
#                       once and killed workers, TIMES=50 times each (half an hour)
# make test-browser     reports, maps and JupyterLab in headless Chromium [GAIRLIB_REPORTS=reports]
# make pictures         README's pictures from a finished run, into docs/
# make lab              JupyterLab on the notebooks
# make bench            measure speed and memory, side by side (metrics/bench.json; minutes)
# make bench-gpu        the same on a GPU: utilisation, large batches, the loader's share
# make ablate           each switch of the objective on and off, three seeds; the published training
#                       with two more seeds (an hour) [STAGES="ablate stress seeds": some of them]
# make bench-all        every task, every location encoder, blocks of 2, 10 and 20 degrees [DATA=dir]
# make scoreboard       scoreboard, report, and the numbers in README, model card and docs/results.md
# make docs             the site of docs/ and the docstrings, into site/; a broken link is an error
# make tutorials        run and render the notebooks of docs/tutorials (ten minutes), for make docs
# make lint             ruff, the format, and the directions in which packages may import
# make env / lock / sample: the parts

# The newest that is there and runs (the shim of a version manager may not) and can make environments.
VERSIONS := python3.13 python3.12 python3.11 python3 python
RUNS := -c 'import sys, ensurepip, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))'
PYTHON ?= $(shell for p in $(VERSIONS); do $$p $(RUNS) >/dev/null 2>&1 && { echo $$p; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
export JUPYTER_PLATFORM_DIRS := 1

# A variable as one word of the shell, whatever stands in it: a folder may be named `a$b "c"`.
quoted = '$(subst ','\'',$(value $(1)))'

.PHONY: repro pull docs tutorials test fuzz test-faults test-browser chromium pictures lab bench bench-all bench-gpu ablate scoreboard env lock sample lint checkout data clean
.DEFAULT_GOAL := help

help:
	@sed -n 's/^# //p' Makefile

# The stamp holds the lock file's content: a new lock file is a new environment.
env: $(VENV)/requirements.installed

$(VENV)/requirements.installed: requirements.lock pyproject.toml
	@test -x $(BIN)/python || { python="$(PYTHON)"; test -n "$$python" || { \
	  echo "Python 3.13, 3.12 or 3.11 is needed: uv python install 3.13 (docs.astral.sh/uv), or name one with PYTHON=/path/to/python"; \
	  exit 1; }; $$python -m venv $(VENV); }
	@# uv is in the lock file like everything else; pip installs it alone, hash checked.
	@awk '/^[a-zA-Z]/{keep=/^uv==/} keep' requirements.lock > $(VENV)/uv.txt
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r $(VENV)/uv.txt
	@# Bytecode now: where PYTHONDONTWRITEBYTECODE is set (many containers) each stage would else
	@# compile torch anew, ten seconds of a core.
	$(BIN)/uv pip sync -q --compile-bytecode --python $(BIN)/python --require-hashes requirements.lock
	$(BIN)/uv pip install -q --python $(BIN)/python --no-deps --no-build-isolation -e .
	@cp requirements.lock $@

checkout: env
	@test -e .git || { echo "No git checkout (unpacked from an archive?), which DVC needs: get the code with git clone"; exit 1; }

data: checkout
	$(BIN)/dvc pull -q --allow-missing data.dvc ablation/dvc.yaml
	$(BIN)/dvc repro -q sites

pull: checkout
	$(BIN)/dvc pull -q --allow-missing
	$(BIN)/dvc repro -q sites
	$(BIN)/python -m research.pipeline.assets
	$(BIN)/python -m research.pipeline.pixels

repro: data
	@$(BIN)/python -m research.pipeline $(if $(value DATA),$(call quoted,DATA)) $(if $(value NAME),--name $(call quoted,NAME)) $(if $(JOBS),--jobs $(JOBS))
	@$(if $(value DATA),,$(BIN)/python -m research.reports.pages)

test: data
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile $(PYTEST_ARGS)

# Python's part is in the lock file; the browser is the system's.
chromium:
	@command -v "$${GAIRLIB_CHROMIUM:-chromium}" >/dev/null || { \
	  test "$$(id -u)" = 0 && command -v apt-get >/dev/null \
	    && apt-get update -qq && apt-get install -y -qq chromium >/dev/null; } \
	|| { echo "Chromium is needed: sudo apt-get install chromium, or GAIRLIB_CHROMIUM=/path/to/it"; exit 1; }

COUNT ?= 10000
fuzz: env
	GAIRLIB_FUZZ=$(COUNT) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -W ignore tests/research/test_damaged_inputs.py

TIMES ?= 50
test-faults: env
	GAIRLIB_TIMES=$(TIMES) OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m slow -rP -W ignore \
	  tests/gairlib/test_fault_injection.py tests/gairlib/test_two_at_once.py

test-browser: env chromium
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m browser $(PYTEST_ARGS)
	@echo "Screenshots: $(CURDIR)/outputs-browser"

pictures: env chromium
	$(BIN)/python -m research.reports.screenshots

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

docs: env
	$(BIN)/mkdocs build --strict

tutorials: data
	@mkdir -p scratch/tutorials
	@cd docs/tutorials && for name in *.ipynb; do (cd ../.. \
	  && $(BIN)/papermill --no-progress-bar -k python3 --cwd . "docs/tutorials/$$name" "scratch/tutorials/$$name" \
	  && $(BIN)/jupyter nbconvert --to html --output-dir docs/tutorials "scratch/tutorials/$$name") || exit 1; done

bench: data
	$(BIN)/python -m research.speed $(NAMES)

bench-gpu: env
	$(BIN)/python -m research.speed.gpu $(ARGS)

ablate: data
	$(BIN)/dvc repro $(if $(STAGES),$(addprefix ablation/dvc.yaml:,$(STAGES)),ablation/dvc.yaml)

bench-all: data
	$(BIN)/python -m research.pipeline.bench_all $(if $(value DATA),--data $(call quoted,DATA)) $(if $(value NAME),--name $(call quoted,NAME))

scoreboard: data
	$(BIN)/dvc repro --force --single-item scoreboard report
	$(BIN)/python -m research.reports.pages

lab: data
	$(BIN)/jupyter lab notebooks

# Writes requirements.lock anew from pyproject.toml's ranges (versions and hashes, no addresses).
lock:
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes \
	  --no-emit-index-url --no-annotate --no-header --all-extras $(UPGRADE) pyproject.toml -o requirements.lock

# Writes the stored sites anew from their seed; `dvc add data && dvc push` tracks changed ones.
sample: env
	$(BIN)/python -m research.sample --first --out data

clean:
	rm -rf outputs reports runs logs scratch site
