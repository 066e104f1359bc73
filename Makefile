# Everything a contributor needs. `make` alone says what there is.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
EXTRAS := serve,data,train,evaluate,wan,dev
OUT    ?= out

BENCH_SECONDS ?= 60
SOAK_SECONDS  ?= 600

.DEFAULT_GOAL := help
.PHONY: help setup browser demo test check format bench soak figures clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed  ## make .venv with everything (no GPU needed)

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "MotionStream needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $@

browser:  ## Chromium for the studio's browser test
	@if command -v chromium >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	elif [ "$${CI:-}" = true ]; then echo "chromium is missing, and CI may not leave the browser test out" >&2; exit 1; \
	else echo "chromium is missing: the browser test will be skipped. Install it with your system's package manager."; fi

demo: setup  ## the live studio on the embedded model, in your browser
	$(BIN)/motionstream demo

test: setup browser check  ## everything CI runs: lint, format, types, all tests
	$(BIN)/pytest -n logical --maxprocesses 8 --dist loadfile

check: setup  ## ruff, format, mypy --strict
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## put the source in shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## live figures of this machine → docs/results/
	$(BIN)/motionstream bench live --model tiny --seconds $(BENCH_SECONDS) --json docs/results/live_tiny.json

soak: setup  ## ten minutes of stream: does time or memory grow?
	@mkdir -p $(OUT)
	$(BIN)/motionstream bench live --model tiny --seconds $(SOAK_SECONDS) --json $(OUT)/soak_tiny.json

figures: setup  ## docs/results/ → its report, and the figures in the README
	$(BIN)/python -m benchmarks report --results docs/results --markdown docs/results/README.md --html $(OUT)/report.html
	$(BIN)/python -m benchmarks figures

clean:  ## remove what the tools left, keep .venv
	rm -rf $(OUT) build .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src benchmarks tests -name __pycache__ -type d -prune -exec rm -rf {} +
