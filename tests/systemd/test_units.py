"""The units, the account and the programs, as systemd takes them."""

import pytest

from tests.systemd import inside_units
from tests.systemd.outside import Box, scenarios

pytestmark = [pytest.mark.systemd, pytest.mark.slow]


@pytest.mark.parametrize("scenario", scenarios(inside_units))
def test_unit(box: Box, scenario: str) -> None:
    print(box.shows(inside_units, scenario))  # pytest -rP has it
