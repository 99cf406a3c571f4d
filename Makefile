# make notebooks   run every notebook on the embedded data, as notebook and as HTML, into _build/
# make test        lint, types, unit tests, and every stored notebook output compared with a new one
# make lab         open JupyterLab on the notebooks
# make oldest      the tests with the oldest packages that requirements.txt allows, in an environment of their own
# make newest      the same with the newest
# make reproduce   run every row of every report at full scale; cut off, it goes on where it stopped
# make address URL=https://github.com/OWNER/REPOSITORY   after the repository got an address

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/installed

.PHONY: notebooks test lab oldest newest reproduce address

notebooks: $(INSTALLED)
	@$(BIN)/python -m seglib notebooks --out _build

test: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest
	$(BIN)/python -m pytest --nbval notebooks $(wildcard reduce_dataset.ipynb)

lab: $(INSTALLED)
	@$(BIN)/jupyter lab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/01_denoising.ipynb

# Through uv, for pip knows no oldest. Each names its torch and torchvision, which are built for each other.
# Of the notebooks' numbers the last digits depend on OpenCV and SciPy: the oldest run every cell and compare nothing.
oldest: RESOLUTION := lowest-direct
oldest: PAIR := torch==2.6.0 torchvision==0.21.0
oldest: COMPARE := --nbval-lax
newest: RESOLUTION := highest
newest: PAIR := torch==2.15.0 torchvision==0.29.2
newest: COMPARE := --nbval
oldest newest:
	@echo "Installing into .venv-$@ (once; several GB with PyTorch)"
	@$(PYTHON) -m venv .venv-$@
	@.venv-$@/bin/python -m pip install --quiet uv
	@.venv-$@/bin/uv pip install --quiet --python .venv-$@ --resolution $(RESOLUTION) --upgrade -r requirements.txt $(PAIR) -e .
	.venv-$@/bin/python -m pytest
	.venv-$@/bin/python -m pytest $(COMPARE) notebooks $(wildcard reduce_dataset.ipynb)

reproduce: $(INSTALLED)
	@$(BIN)/python -m seglib reproduce

address: $(INSTALLED)
	@$(BIN)/python -m seglib address "$(URL)"

# The environment, made once and made anew when what it must hold has changed.
$(INSTALLED): requirements.txt constraints.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "This needs Python 3.11 (from 3.11.4 on), 3.12 or 3.13, and '$(PYTHON)' is not there. Name yours: make PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -c 'import sys; v = sys.version_info[:3]; (3, 11, 4) <= v < (3, 14) or sys.exit("This needs Python 3.11 (from 3.11.4 on), 3.12 or 3.13; $(PYTHON) is %d.%d.%d. Name another: make PYTHON=python3.12" % v)'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "$(PYTHON) has no venv module; on Debian and Ubuntu: apt install python3-venv"; exit 1; }
	@echo "Installing into $(VENV) (once; several GB with PyTorch)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet -c constraints.txt -r requirements.txt -e .
	@touch $@
