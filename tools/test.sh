#!/usr/bin/env bash
# Every check: format, lint, types, import direction, tests with doctests. Stops at the first that fails.
#   bash tools/test.sh            PYTHON=python3.12 bash tools/test.sh            bash tools/test.sh tests/pid -k gates
EXTRAS="test"
source "$(dirname "$0")/environment.sh"

say "Format and lint (ruff)"
ruff format --check .
ruff check .
say "Types (mypy)"
mypy
say "Import direction (import-linter)"
lint-imports
say "Tests"
# One thread a worker: the workers share the cores, and the sums come out the same on every machine.
OMP_NUM_THREADS=1 python -m pytest -n "${WORKERS:-2}" --dist loadfile "$@"
