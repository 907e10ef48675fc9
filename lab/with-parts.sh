#!/usr/bin/env bash
# Run a command with the parts that the tests need, and stop what was started, whatever way the command ends.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PWD/.venv/bin:$PATH

trap 'python -m lab teardown-tests' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
python -m lab setup-tests
"$@"
