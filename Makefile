# Needs Python 3.11 or newer and make, nothing else:
#   make demo   train on the built-in demo set, translate its test pictures, score them; with
#               IN=FOLDER also translate your own pictures by a translator that comes trained
#   make test   tests, coverage, style and types
#   make gpu    on a machine with a GPU: what a CPU cannot check, and times (under 8 minutes).
#               Nothing is installed: PYTHON has torch and torchvision, GPU_PACKAGES is a folder of
#               wheels of the rest, RELEASED are released code bases to compare with, if any
#               (benchmarks/README.md, "On a GPU").

PYTHON ?= python3
VENV ?= .venv
RUN ?= demo-output/run
OUT ?= demo-output/translated
# Pictures of your own, and the translator of `i2i zoo list` that they go through.
IN ?=
ZOO ?= horse2zebra
ZOO_OUT ?= demo-output/$(ZOO)
COVERAGE ?= 90
# More options of the training, for example DEMO_FLAGS='--steps 200'.
DEMO_FLAGS ?=
GPU_PACKAGES ?=
RELEASED ?=
# For example GPU_FLAGS='--device cpu --quick', which tries all of it on a CPU.
GPU_FLAGS ?=

BIN = $(VENV)/bin
I2I = $(BIN)/i2i
FOLDER_OF = $(BIN)/python -c 'import json, sys; print(json.load(sys.stdin)["folder"])'

.PHONY: demo test check gpu clean-demo

demo: $(VENV)/.installed
ifneq ($(IN),)
ifneq ($(wildcard zoo/$(ZOO)),)
	@echo "== translating your own pictures by zoo:$(ZOO) into $(ZOO_OUT)"
	@$(I2I) translate zoo:$(ZOO) "$(IN)" $(ZOO_OUT) --grid --skip-existing
else
	@echo "== there is no zoo/$(ZOO) here, so $(IN) is left as it is"
endif
endif
	@if [ -f $(RUN)/config.toml ]; then \
	    echo "== going on with $(RUN) ('make clean-demo' begins anew)"; \
	    $(I2I) resume $(RUN); \
	else \
	    echo "== training QS-Attn on the built-in demo set: minutes on two cores"; \
	    $(I2I) train --preset demo --run-dir $(RUN) --set eval.every_steps=500 $(DEMO_FLAGS); \
	fi
	@echo "== translating the test pictures"
	@$(I2I) translate $(RUN)/checkpoints/last.pt \
	    "$$($(I2I) data demo --json | $(FOLDER_OF))/testA" $(OUT) --grid --skip-existing
	@echo "== comparing with the true translations"
	@$(I2I) data demo --score $(OUT)
	@echo "== looking inside: what the queries attend to"
	@$(I2I) viz-attention $(RUN) --html
	@$(I2I) report $(RUN)
	@echo "== look at $(RUN)/report.html (all of it), $(RUN)/attention/attention.html (move the"
	@echo "== mouse over the pictures), $(RUN)/samples (while learning) and $(OUT) (the result)"

test: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -n auto --dist loadfile \
	    -m "not slow and not gpu and not network and not browser" \
	    --cov=i2icli --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE)

check: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/mypy

gpu:
	$(PYTHON) benchmarks/gpu.py $(if $(GPU_PACKAGES),--packages $(GPU_PACKAGES)) \
	    $(if $(RELEASED),--released $(RELEASED)) $(GPU_FLAGS)

clean-demo:
	rm -rf demo-output

$(VENV)/bin/python:
	@echo "== making the virtual environment $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml
	@echo "== installing i2i and what it needs into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/bin/python pyproject.toml
	@echo "== installing i2i and what its tests need into $(VENV)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.installed
