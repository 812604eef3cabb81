# Two commands do all the set-up: `make demo` and `make test`. CI calls `make check` and `make test`.
.DELETE_ON_ERROR:
SHELL := /bin/bash
PYTHON ?= python3
export PYTHONSAFEPATH = 1
export PIP_DISABLE_PIP_VERSION_CHECK = 1

VENV := .venv
SOURCES := $(shell git ls-files 2>/dev/null | grep -E '^(python|runtime|kernels|export|csrc|zoo|benchmarks)/|^CMakeLists.txt$$|^pyproject.toml$$')
PIP_ENV := PIP_CONSTRAINT=$(CURDIR)/constraints.txt

# A folder of ONNX Runtime's headers, or nothing and a word why: then saccade's ops run as the bodies that models carry.
ORT_ENV := SACCADE_ORT_INCLUDE="$$(.ci/onnxruntime-headers)"

# install ENVIRONMENT,EXTRAS,VARIABLES: build the wheel and put exactly it there, also over one of the same version.
comma := ,
define install
	rm -rf build/wheel-$(1)
	$(PIP_ENV) $(3) $(VENV)/$(1)/bin/pip wheel -q --no-deps -w build/wheel-$(1) .
	$(PIP_ENV) $(VENV)/$(1)/bin/pip install -q "$$(ls $(CURDIR)/build/wheel-$(1)/saccade-*.whl)[$(2)]"
	$(PIP_ENV) $(VENV)/$(1)/bin/pip install -q --force-reinstall --no-deps build/wheel-$(1)/saccade-*.whl
	touch $@
endef

.PHONY: demo test check bench size dev clean

demo: $(VENV)/demo/.installed  ## from nothing to an annotated picture on the CPU, without torch
	$(VENV)/demo/bin/saccade demo --output out/demo

test: $(VENV)/test/.installed  ## pytest on the installed wheel; native tests; GPU tests where there is one
	$(VENV)/test/bin/python -c "import saccade._native" || { echo "error: the native module was not built"; exit 1; }
	OMP_NUM_THREADS=1 $(VENV)/test/bin/python -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile $(PYTEST)

check: $(VENV)/test/.installed  ## ruff, mypy --strict on the installed wheel, clang-format
	$(VENV)/test/bin/ruff check .
	$(VENV)/test/bin/ruff format --check .
	$(VENV)/test/bin/clang-format --dry-run --Werror $$(git ls-files 'csrc/*.h' 'csrc/*.cpp' 'csrc/*.inc' 'csrc/*.cu')
	PYTHON=$(VENV)/test/bin/python .ci/types

bench: $(VENV)/test/.installed  ## the quick set, with the ratio to each peer
	$(VENV)/test/bin/saccade bench overhead
	$(VENV)/test/bin/saccade bench kernels --quick
	$(VENV)/test/bin/saccade bench models clip

size:  ## lines, functions and docstrings of each part
	$(PYTHON) .ci/size.py

dev: $(VENV)/dev/.installed  ## an editable install with everything, for work on saccade itself

clean:
	rm -rf build dist out .venv

$(VENV)/demo/.installed: $(SOURCES) constraints.txt
	$(PYTHON) -m venv $(VENV)/demo
	$(call install,demo,cpu)

# torch first and pinned: a range would bring the newest build and gigabytes of CUDA with it.
$(VENV)/test/.torch: constraints.txt
	$(PYTHON) -m venv $(VENV)/test
	$(PIP_ENV) $(VENV)/test/bin/pip install -q torch
	touch $@

$(VENV)/test/.installed: $(SOURCES) $(VENV)/test/.torch
	$(call install,test,cpu$(comma)export$(comma)bench$(comma)kernels$(comma)test$(comma)check,$(ORT_ENV))

$(VENV)/dev/.installed: pyproject.toml CMakeLists.txt constraints.txt
	$(PYTHON) -m venv $(VENV)/dev
	$(PIP_ENV) $(VENV)/dev/bin/pip install -q torch scikit-build-core pybind11 cmake ninja
	$(PIP_ENV) $(ORT_ENV) $(VENV)/dev/bin/pip install -q --no-build-isolation -e '.[cpu,export,bench,kernels,test,check]'
	touch $@
