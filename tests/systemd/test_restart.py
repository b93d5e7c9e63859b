"""A restart of the service, with many who are connected."""

import pytest

from tests.systemd import inside_restart
from tests.systemd.outside import Box, scenarios

pytestmark = [pytest.mark.systemd, pytest.mark.slow]


@pytest.mark.parametrize("scenario", scenarios(inside_restart))
def test_restart(box: Box, scenario: str) -> None:
    print(box.shows(inside_restart, scenario))  # pytest -rP has it
