#!/bin/sh
# Question: an async test calls pytest.skip("no openssl here"). What does `pytest -rs` say?
# Obvious guess: SKIPPED with the reason, as of any other test.
# What happens: the reason is gone. The exception leaves the nursery in a group, and pytest-trio, which finds it there,
# calls pytest.skip() anew without a reason. All that a run shows is "Skipped", at a line of pytest itself.
# Packages: pytest 9.2.0, pytest-trio 0.8.0, trio 0.35.0 (PyPI), Python 3.11 or later.
# Who meets it: projects on trio whose tests skip what the machine lacks, and who read the reasons in CI.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install pytest==9.2.0 pytest-trio==0.8.0 trio==0.35.0
cat >"$folder/test_it.py" <<'PYTHON'
import pytest


def test_plain():
    pytest.skip("plain reason")


@pytest.mark.trio
async def test_async():
    pytest.skip("async reason")
PYTHON
cd "$folder"
printf 'pytest 9.2.0, pytest-trio 0.8.0, trio 0.35.0, %s\n' "$(venv/bin/python -V)"
said=$(venv/bin/python -m pytest -q -rs -p no:cacheprovider test_it.py)
printf '%s\n' "$said" | grep SKIPPED
printf '%s\n' "$said" | grep -q "plain reason"
if printf '%s\n' "$said" | grep -q "async reason"; then exit 1; fi
printf '%s\n' "$said" | grep -q "2 skipped"
echo "as described"
