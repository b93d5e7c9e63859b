"""`sigctl setup`, and what operators do to sockets and configuration without it."""

import pytest

from tests.systemd import inside_setup
from tests.systemd.outside import Box, scenarios

pytestmark = [pytest.mark.systemd, pytest.mark.slow]


@pytest.mark.parametrize("scenario", scenarios(inside_setup))
def test_setup(box: Box, scenario: str) -> None:
    print(box.shows(inside_setup, scenario))  # pytest -rP has it
