# Run `make` for the list of targets.
.DEFAULT_GOAL := help
PYTHON := $(shell for p in python3.12 python3.13 python3; do command -v $$p >/dev/null && $$p -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
READY := .venv/.ready
# Small matrices: threads of their own cost more than they bring, most of all beside other processes.
test quick check: export OMP_NUM_THREADS := 1
# Where it is set, every process compiles the 3,000 modules of scvi-tools and PyTorch anew: 27 s of an import, not 9.
unexport PYTHONDONTWRITEBYTECODE
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true

.PHONY: help run test quick check bench format viz ui screens lock clean

help:  ## list the targets
	@grep -E '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(READY): requirements.lock pyproject.toml
	@test -n "$(PYTHON)" || { echo "Python 3.12 or newer is needed and none was found"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "installing the pinned packages into .venv (minutes on a first run)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip sync --quiet requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/.venv $(BIN)/uv pip install --quiet --no-deps --editable .
	@echo "compiling what every run imports, so that the first one does not"
	@$(BIN)/python -W ignore -c "import scvi, faiss, igraph" & \
		$(BIN)/python -W ignore -c "import mlflow.pyfunc, matplotlib.figure, kedro_viz, kedro_datasets" & wait
	@touch $(READY)

run: $(READY)  ## analyse 700 real PBMCs and say where the results are
	@$(BIN)/kedro run

# Three processes: one or another of them waits for a browser, a server or a child.
test: $(READY)  ## all tests
	@$(BIN)/python -m pytest -n 3 --dist loadfile

quick: $(READY)  ## all tests but those that train or run pipelines
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow"

check: $(READY)  ## format, lint, types, the quickest tests
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -m pytest -q -n 2 --dist loadfile -m "not slow and not thorough"

SIMULATED := --input simulated --batch-key batch --label-key cell_type
KANG := --batch-key donor --sample-key donor --condition-key condition --label-key cell_type_transferred
bench: $(READY)  ## measure runs, scores, tests and training (hours, alone on the machine); DATA=folder of .h5ad files
	@$(BIN)/python benchmarks/integration_scores.py --results benchmarks/integration_scores.json
	@$(BIN)/python benchmarks/expression_differences.py --results benchmarks/expression_differences.json
	@$(BIN)/python benchmarks/runs.py demo
	@$(BIN)/python benchmarks/runs.py test --env test
	@test ! -f "$(DATA)/kang_ifnb.h5ad" || $(BIN)/python benchmarks/runs.py kang_ifnb --input "$(DATA)/kang_ifnb.h5ad" $(KANG)
	@$(BIN)/python benchmarks/runs.py simulated $(SIMULATED) --stock 12 --page docs/runs.md
	@$(BIN)/python benchmarks/engine.py --models 100 --in-turn 30 --page docs/engine.md
	@test ! -d "$(DATA)" || $(BIN)/python benchmarks/de_power.py --repeats 4 --data "$(DATA)" --page docs/de-power.md
	@$(BIN)/python benchmarks/truth.py --page docs/truth.md
	@$(BIN)/python benchmarks/against_stock.py --data $(or $(DATA),.)

format: $(READY)  ## put the code into shape
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

viz: $(READY)  ## Kedro-Viz in the browser
	@$(BIN)/kedro viz run --include-hooks

ui: $(READY)  ## MLflow in the browser
	@$(BIN)/python -m scvi_downstream ui

screens: $(READY)  ## take the documentation's pictures of what `make run` has made
	@$(BIN)/python benchmarks/screens.py

lock: $(READY)  ## choose the newest versions that pyproject.toml allows
	@$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal --python-version 3.12 --no-emit-index-url \
		--no-header --no-annotate --quiet --upgrade -o requirements.lock

clean:  ## remove what runs have made (not the environment)
	@rm -rf data/0*/*/ mlflow.db* mlartifacts logs sessions .viz
