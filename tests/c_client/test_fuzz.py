"""libFuzzer plays with the C client; longer by hand: `python -m tests.c_client.test_fuzz -max_total_time=600`."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.c_client.build import HERE, STRICT, compiled
from tests.daemon import HANG_SECONDS

pytestmark = pytest.mark.slow  # tens of thousands of inputs

SEEDS = [
    b"\4\0\0\0\0\x40\0\0\0\x2f" + b'{"type":"offer","from":"bob","sdp":"v=0\\r\\n","session":"k3"}',
    b'\0\0{"type":"error","code":"server-full","message":"full","retryAfterMs":5}\n',
    b"\5\0\x3fD 0123456789abcdef 1 0 1 0/1 " + b'{"type":"ping"}',
    b"\7\0\x3fD 0123456789abcdef 1 1 1 0/1 " + b'{"type":"goingAway","reconnectAfterMs":9,"reason":"x"}',
    b"\5\0\x24P 0123456789abcdef 1 0123456789abcdef\x14Q 0123456789abcdef 1\x16A 0123456789abcdef 1 0",
    b"\5\0\x23C 0123456789abcdef fedcba9876543210\x12X 0123456789abcdef",
    b'\1\0\x4d{"type":"challenge","nonce":"dgjmpcfilorbehkn","cookie":"AAAAAAAAAAAAAAAA"}',
    rb'\x0f{"x":[{"a":1},"\\"],"a":"\u00e9\ud83d\ude00\n"}',
]


def build(folder: Path) -> Path:
    """The fuzzer."""
    flags = ("-std=c99", *STRICT, "-g", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all")
    return compiled("clang", HERE / "fuzz.c", folder / "fuzz", *flags)


def corpus(folder: Path) -> Path:
    """Inputs to begin with."""
    seeds = folder / "corpus"
    seeds.mkdir(exist_ok=True)
    for number, seed in enumerate(SEEDS):
        (seeds / f"seed{number}").write_bytes(seed)
    return seeds


def test_nothing_that_comes_does_harm(tmp_path: Path):
    command = [str(build(tmp_path)), str(corpus(tmp_path)), "-runs=20000", "-seed=1", "-max_len=2000", "-timeout=5"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=HANG_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-4000:]


if __name__ == "__main__":
    kept = Path(".fuzz") / "c_client"
    kept.mkdir(parents=True, exist_ok=True)
    options = ["-max_len=2000", f"-artifact_prefix={kept}/", *sys.argv[1:]]
    sys.exit(subprocess.run([build(kept), corpus(kept), *options], check=False).returncode)
