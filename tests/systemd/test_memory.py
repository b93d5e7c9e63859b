"""Memory that the limits allow, held against what the unit allows."""

import pytest

from tests.systemd import inside_memory
from tests.systemd.outside import Box, scenarios

pytestmark = [pytest.mark.systemd, pytest.mark.slow]


@pytest.mark.parametrize("scenario", scenarios(inside_memory))
def test_memory(box: Box, scenario: str) -> None:
    print(box.shows(inside_memory, scenario))  # pytest -rP has it
