"""sigd_codes.h is what the generator prints today."""

import subprocess
import sys

from tests.c_client.build import CLIENT
from tests.daemon import HANG_SECONDS


def test_the_header_is_up_to_date():
    printed = subprocess.run(
        [sys.executable, CLIENT / "codes.py"],
        cwd=CLIENT.parents[1],
        capture_output=True,
        check=True,
        timeout=HANG_SECONDS,
    )
    assert (CLIENT / "sigd_codes.h").read_bytes() == printed.stdout, (
        "run: python clients/c/codes.py > clients/c/sigd_codes.h"
    )
