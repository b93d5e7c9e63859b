"""Turns: the messages of one link that are acted on while others wait."""

import pytest

from sigd.net.rounds import MESSAGES_PER_ROUND
from sigd.net.turns import MESSAGES_WAITING, share


@pytest.mark.parametrize("waiting", [0, 1, 64, 65, 1_000, 100_000])
def test_share(waiting: int) -> None:
    each = share(waiting)
    assert 1 <= each <= MESSAGES_PER_ROUND
    assert each == 1 or each * waiting <= MESSAGES_WAITING
    assert each == MESSAGES_PER_ROUND or (each + 1) * waiting > MESSAGES_WAITING
