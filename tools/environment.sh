# Sourced by demo.sh and test.sh: a virtual environment with fusionscope and the extras named in $EXTRAS.
# PYTHON=... chooses the interpreter it is made with (3.11 or newer), VENV=... where it is (default: .venv).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

PYTHON="${PYTHON:-python3}"
VENV="${VENV:-.venv}"

say() { printf '\n== %s\n' "$*"; }

if [ ! -x "$VENV/bin/python" ]; then
  "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "$PYTHON is $("$PYTHON" --version 2>&1), fusionscope needs Python 3.11 or newer: set PYTHON=python3.11" >&2
    exit 2
  }
  say "Making the virtual environment $VENV with $("$PYTHON" --version)"
  "$PYTHON" -m venv "$VENV"
fi

stamp="$VENV/.fusionscope-installed"
wanted="$(cat pyproject.toml constraints.txt | cksum) $PWD $EXTRAS"
if ! grep -qxF "$wanted" "$stamp" 2>/dev/null; then
  say "Installing fusionscope[$EXTRAS] with the versions in constraints.txt (a few minutes the first time)"
  "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$EXTRAS]"
  echo "$wanted" >>"$stamp"
fi
PATH="$(cd "$VENV/bin" && pwd):$PATH"
