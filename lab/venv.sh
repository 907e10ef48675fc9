#!/usr/bin/env bash
# Make .venv with everything of requirements-dev.txt and this checkout in editable form; quick when nothing changed.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=.venv
stamp=$venv/.runbake-stamp
want=$(cat requirements-dev.txt pyproject.toml lab/venv.sh | sha256sum 2>/dev/null || cat requirements-dev.txt pyproject.toml lab/venv.sh | shasum -a 256)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ] && "$venv/bin/python" -c '' 2>/dev/null; then
    exit 0
fi

python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: $python is not Python 3.11 or newer" >&2
    echo "try: make PYTHON=python3.11 …" >&2
    exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "  venv        apt-get install python3-venv" >&2
        apt-get update --quiet >/dev/null
        DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends python3-venv >/dev/null
    else
        echo "error: $python cannot make virtual environments" >&2
        echo "try: as root, apt-get install python3-venv" >&2
        exit 1
    fi
fi

echo "  venv        $("$python" --version), $(grep -c '^[a-zA-Z]' requirements-dev.txt) locked packages" >&2
# A half-made environment, or one of another interpreter, is made again.
"$python" -m venv --clear "$venv"

# uv alone first, by its own lines of the lock: it installs the rest ten times as fast as pip.
lines=$venv/requirements-uv.txt
awk '/^uv==/ {on = 1} on {print} on && !/\\$/ {exit}' requirements-dev.txt > "$lines"
"$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes --requirement "$lines"
# pip's configuration may know an index that uv's does not.
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --require-hashes --requirement requirements-dev.txt ||
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check --require-hashes \
        --requirement requirements-dev.txt
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --offline --no-build-isolation --no-deps --editable .
echo "$want" > "$stamp"
