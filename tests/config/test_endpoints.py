"""Listening addresses, and the match between a socket unit and the listeners."""

import pytest

from sigd.config import Listener
from sigd.config.endpoints import Endpoint, addresses_of, fit, is_part_of, url_of_key

EVERYWHERE: Endpoint = (False, "0.0.0.0", 7337, "")
LOOPBACK: Endpoint = (False, "127.0.0.1", 7337, "")


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("tcp://127.0.0.1:7337", LOOPBACK),
        ("tcp://[::1]:7337", (False, "::1", 7337, "")),
        ("udp://127.0.0.1:7337", (True, "127.0.0.1", 7337, "")),
        ("unix:/run/sigd/sock", (False, "", 0, "/run/sigd/sock")),
    ],
)
def test_a_url_and_its_address_are_the_same(url: str, key: Endpoint) -> None:
    assert addresses_of(Listener(url).address) == {key}
    assert url_of_key(key) == url


@pytest.mark.parametrize(
    ("key", "whole", "is_part"),
    [
        (LOOPBACK, EVERYWHERE, True),
        (EVERYWHERE, EVERYWHERE, False),
        (EVERYWHERE, LOOPBACK, False),
        (LOOPBACK, (True, "0.0.0.0", 7337, ""), False),
        (LOOPBACK, (False, "0.0.0.0", 7338, ""), False),
        (LOOPBACK, (False, "::", 7337, ""), False),
        ((False, "::1", 7337, ""), (False, "::", 7337, ""), True),
    ],
)
def test_a_wildcard_holds_the_addresses_of_its_family_and_port(key: Endpoint, whole: Endpoint, is_part: bool) -> None:
    assert is_part_of(key, whole) == is_part


def test_a_socket_that_is_named_fits() -> None:
    assert fit([Listener("tcp://127.0.0.1:7337")], [LOOPBACK]) == ([], [], [], [])


def test_what_does_not_fit_is_told_apart() -> None:
    loopback, everywhere = Listener("tcp://127.0.0.1:7337"), Listener("tcp://0.0.0.0:7337")
    other: Endpoint = (False, "127.0.0.1", 7338, "")
    assert fit([everywhere], [LOOPBACK]).narrowed == [(everywhere, [LOOPBACK])]
    assert fit([loopback], [EVERYWHERE]).blocked == [(loopback, EVERYWHERE)]
    assert fit([loopback], [other]) == ([], [loopback], [], [other])
    assert fit([Listener("tcp://127.0.0.1:0")], []).unopened == []
