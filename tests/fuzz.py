"""`make fuzz`: look for bytes that do more than be answered or end a link. All options are libFuzzer's.

Without atheris, inputs are generated at random, for as long.
"""

import importlib
import os
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
KEPT = Path(".fuzz")
"""What was found: inputs that reach new code, and `crash-*`; `python tests/fuzz.py .fuzz/crash-...` plays one again."""


def without_atheris(seconds: float) -> None:
    """Play generated inputs."""
    from tests import fuzz_target

    seed = first = int.from_bytes(os.urandom(4), "big")
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            fuzz_target.run(fuzz_target.generated(seed))
        except Exception:
            print(f"seed {seed}: run(generated({seed})) in tests/fuzz_target.py", file=sys.stderr)
            raise
        seed += 1
    print(f"atheris is not installed: {seed - first} generated inputs were played instead")


def main(arguments: list[str]) -> None:
    """Fuzz until stopped, or for `-max_total_time=` seconds."""
    sys.path.insert(0, str(HERE.parent))
    times = [float(found.partition("=")[2]) for found in arguments if found.startswith("-max_total_time=")]
    try:
        atheris = importlib.import_module("atheris")  # has no types, and no wheel for Python 3.14 and later
    except ImportError:
        without_atheris(times[-1] if times else 60)
        return
    with atheris.instrument_imports(include=["sigd"]):
        from tests import fuzz_target
    options = [found for found in arguments if found.startswith("-")]
    inputs = [found for found in arguments if not found.startswith("-")]
    if not inputs:
        corpus = KEPT / "corpus"
        corpus.mkdir(parents=True, exist_ok=True)
        inputs = [str(corpus)]
    if not any(option.startswith("-artifact_prefix=") for option in options):
        KEPT.mkdir(exist_ok=True)
        options.append(f"-artifact_prefix={KEPT}/")
    if not any(option.startswith("-max_len=") for option in options):
        options.append("-max_len=2000")
    atheris.Setup([sys.argv[0], *options, *inputs], fuzz_target.run)
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
