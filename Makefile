# make demo        the whole way once, on this machine        make demo-down   stop it
# make test        lint, types and every quick test           make test-slow   the other tests
# make format      let ruff repair what it can                make lock        renew requirements-dev.txt

# One more than the two cores that CI has, as many tests wait; `make test WORKERS=8` pays on a machine with more
# cores, and 0 is one process, for a debugger.
WORKERS ?= 3
# Some tests only: `make test TESTS=tests/unit`.
TESTS ?=
BIN := .venv/bin
PYTEST := lab/with-parts.sh pytest --timeout 300 -n $(WORKERS) --dist worksteal --durations 20 $(TESTS)

.PHONY: help venv demo demo-down lint format test test-slow lock

help:
	@sed -n '1,3s/^# //p' Makefile

venv:
	@PYTHON="$(PYTHON)" lab/venv.sh

demo: venv
	@$(BIN)/python -m lab demo

demo-down: venv
	@$(BIN)/python -m lab demo-down

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: venv
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: lint
	$(PYTEST) -m "not slow"

test-slow: venv
	$(PYTEST) --timeout 1200 -m slow

# Both files feed the lock, so that the toolkit's own requirements are locked for development too.
lock: venv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-emit-find-links --custom-compile-command "make lock" --all-extras \
		pyproject.toml requirements-dev.in --output-file requirements-dev.txt
