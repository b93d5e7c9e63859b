"""README's way from a clone to a server."""

import pytest

from tests.systemd import inside_readme
from tests.systemd.outside import Box, scenarios

pytestmark = [pytest.mark.systemd, pytest.mark.slow]


@pytest.mark.parametrize("scenario", scenarios(inside_readme))
def test_readme(box: Box, scenario: str) -> None:
    print(box.shows(inside_readme, scenario))  # pytest -rP has it
