"""The service, from the first connection to the last, as operators see it."""

import pytest

from tests.systemd import inside_service
from tests.systemd.outside import Box, scenarios

pytestmark = [pytest.mark.systemd, pytest.mark.slow]


@pytest.mark.parametrize("scenario", scenarios(inside_service))
def test_service(box: Box, scenario: str) -> None:
    print(box.shows(inside_service, scenario))  # pytest -rP has it
