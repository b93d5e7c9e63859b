"""The fuzz target plays, with inputs that are always the same."""

import pytest

from tests import fuzz_target

pytestmark = pytest.mark.slow  # processes, or many inputs: more than a few seconds in all


@pytest.mark.parametrize(
    "hundred", [pytest.param(number, marks=[pytest.mark.long] if number >= 10 else []) for number in range(40)]
)
def test_generated_inputs(hundred: int) -> None:
    for seed in range(100 * hundred, 100 * hundred + 100):
        try:
            fuzz_target.run(fuzz_target.generated(seed))
        except BaseException as fault:
            fault.add_note(f"seed {seed}")
            raise


@pytest.mark.parametrize("data", [b"", b"\0", b"\xff" * 300, bytes(range(256))])
def test_odd_inputs(data: bytes) -> None:
    fuzz_target.run(data)
