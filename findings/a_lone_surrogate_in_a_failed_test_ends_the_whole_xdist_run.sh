#!/bin/sh
# Question: a test fails with a lone surrogate in its message, as hypothesis likes to draw one. What does `pytest -n 2` say?
# Obvious guess: one failed test, as without -n, where the surrogate is printed as an escape.
# What happens: the worker cannot send the report, since execnet encodes texts in strict UTF-8; it ends with an
# INTERNALERROR, and the tests that it had still to run are not run.
# Packages: pytest 9.2.0, pytest-xdist 3.8.0, execnet 2.1.2 (PyPI), Python 3.11 or later.
# Who meets it: everybody who tests text or JSON with hypothesis in several processes.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install pytest==9.2.0 pytest-xdist==3.8.0 execnet==2.1.2
cat >"$folder/test_it.py" <<'PYTHON'
def test_first():
    assert "\ud800" == "x"


def test_second():
    pass
PYTHON
cd "$folder"
printf 'pytest 9.2.0, pytest-xdist 3.8.0, execnet 2.1.2, %s\n' "$(venv/bin/python -V)"
alone=$(venv/bin/python -m pytest -q -p no:cacheprovider test_it.py 2>&1 | tail -n 1) || true
several=$(venv/bin/python -m pytest -q -p no:cacheprovider -n 1 test_it.py 2>&1) || true
echo "  in one process: $alone"
echo "  with -n 1:      $(printf '%s\n' "$several" | tail -n 1), INTERNALERROR lines: $(printf '%s\n' "$several" | grep -c INTERNALERROR)"
case $alone in "1 failed, 1 passed"*) ;; *) exit 1 ;; esac
printf '%s\n' "$several" | grep -q INTERNALERROR
if printf '%s\n' "$several" | tail -n 1 | grep -q "1 failed, 1 passed"; then exit 1; fi
echo "as described"
