"""The way from a clone to a server, as docs/how-to/public-server.md has it."""

import pytest

from tests.systemd import inside_public_server
from tests.systemd.outside import Box, scenarios

pytestmark = [pytest.mark.systemd, pytest.mark.slow]


@pytest.mark.parametrize("scenario", scenarios(inside_public_server))
def test_public_server(box: Box, scenario: str) -> None:
    print(box.shows(inside_public_server, scenario))  # pytest -rP has it
