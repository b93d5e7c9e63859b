"""`[limits]`: what may be switched off, what must fit what, and which networks are trusted."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.config import Limits, load, parse_network
from tests.configs import faults_in, faults_of, loaded, refusal_of

OFF = [
    "max_unregistered_per_address",
    "max_per_address",
    "messages_per_second",
    "bytes_per_second",
    "auth_failures_per_minute",
    "takeovers_per_minute",
    "misses_per_minute",
    "drain_ms",
    "udp_links_per_address",
    "udp_unproven_per_second",
    "udp_unproven_per_second_per_address",
    "udp_registers_per_second_per_address",
]
"""What 0 switches off: caps per address, rates, and the only time that may be none."""


@pytest.mark.parametrize("key", Limits.__struct_fields__)
def test_zero_switches_rates_and_caps_per_address_off_and_nothing_else(key):
    if key == "trusted":
        return
    faults = faults_of(lambda: load(None, (), [f"limits.{key}=0"]))
    if key in OFF:
        assert faults == []
        assert getattr(load(None, (), [f"limits.{key}=0"]).limits, key) == 0
    else:
        (fault,) = faults
        assert fault.startswith(f"--set limits.{key}=0: expected an integer from ")


@pytest.mark.parametrize("key", [key for key in Limits.__struct_fields__ if key != "trusted"])
@pytest.mark.parametrize("value", ["-1", "1.0", "true", '"1"', str(2**63), str(2**41)])
def test_other_numbers_are_refused(key, value):
    (fault,) = faults_of(lambda: load(None, (), [f"limits.{key}={value}"]))
    assert fault.startswith(f"--set limits.{key}={value}: expected an integer from ")


CONFLICTS: dict[str, tuple[str, list[str]]] = {
    "of one address and of all": (
        "[limits]\nmax_unregistered = 8",
        [
            "F:2:1: max_unregistered_per_address (256) is above max_unregistered (8):"
            " lower max_unregistered_per_address or raise max_unregistered"
        ],
    ),
    "burst and frame": (
        "[limits]\nmax_frame = 65536\nbytes_burst = 65539",
        [
            "F:3:1: bytes_burst (65539) is below max_frame + 4 (65540), so the largest frame could never be"
            " sent: raise bytes_burst or lower max_frame"
        ],
    ),
    "frame and burst": (
        "[limits]\nmax_frame = 524285\noutbox_bytes = 1000000",
        [
            "F:2:1: bytes_burst (524288) is below max_frame + 4 (524289), so the largest frame could never be"
            " sent: raise bytes_burst or lower max_frame"
        ],
    ),
    "just enough": ("[limits]\nmax_frame = 65536\nbytes_burst = 65540", []),
    "a burst of a rate that is off": ("[limits]\nbytes_burst = 1\nbytes_per_second = 0", []),
    "no guess about a rate that is faulty": (
        '[limits]\nbytes_burst = 1\nbytes_per_second = "1 MiB"',
        ['F:3:1: limits.bytes_per_second: expected an integer from 0 to 1099511627776 (bytes), got "1 MiB"'],
    ),
    "a misspelt key beside a conflict": (
        "[limits]\nbyte_burst = 100\nmax_unregistered = 8",
        [
            "F:2:1: unknown key `byte_burst` in [limits]; did you mean `bytes_burst`?",
            "F:3:1: max_unregistered_per_address (256) is above max_unregistered (8):"
            " lower max_unregistered_per_address or raise max_unregistered",
        ],
    ),
}


@pytest.mark.parametrize(("text", "expected"), CONFLICTS.values(), ids=CONFLICTS.keys())
def test_conflicts(text, expected):
    assert faults_in(text) == expected


def test_few_connections_alone_are_fine():
    """The caps of a part are never reached then: who lowers the whole need not know them."""
    assert load(None, (), ["limits.max_connections=2"]).limits.max_per_address == 1_024


@pytest.mark.parametrize(
    ("written", "network"),
    [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("192.0.2.7", "192.0.2.7/32"),
        ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
        ("0.0.0.0/1", "0.0.0.0/1"),
        ("2001:db8::/32", "2001:db8::/32"),
        ("2001:0DB8::7", "2001:db8::7/128"),
        ("::1", "::1/128"),
    ],
)
def test_trusted_network(written, network):
    assert parse_network(written) == ipaddress.ip_network(network)
    assert loaded(f'[limits]\ntrusted = ["::1", "{written}"]').limits.trusted == ("::1", written)


NO_NETWORK = "is not a network such as 10.0.0.0/8 or 2001:db8::7"


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set: write 10.0.0.0/8"),
        ("2001:db8::7/32", "2001:db8::7/32 has host bits set: write 2001:db8::/32"),
        ("0.0.0.0/0", "0.0.0.0/0 would trust PROXY headers from every address: name only the proxies"),
        ("::/0", "::/0 would trust PROXY headers from every address: name only the proxies"),
        ("1.2.3.4/0", "1.2.3.4/0 would trust PROXY headers from every address: name only the proxies"),
        ("::ffff:10.0.0.0/104", "::ffff:10.0.0.0/104 means IPv4 addresses: write 10.0.0.0/8"),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.1 means IPv4 addresses: write 10.0.0.1/32"),
        ("::ffff:10.0.0.1/104", "::ffff:10.0.0.1/104 means IPv4 addresses: write 10.0.0.0/8"),
        ("fe80::1%eth0", f'"fe80::1%eth0" {NO_NETWORK}'),
        ("10.0.0.0/33", f'"10.0.0.0/33" {NO_NETWORK}'),
        ("10.0.0.0/", f'"10.0.0.0/" {NO_NETWORK}'),
        ("10.0.0", f'"10.0.0" {NO_NETWORK}'),
        ("010.0.0.1", f'"010.0.0.1" {NO_NETWORK}'),
        ("10", f'"10" {NO_NETWORK}'),
        ("", f'"" {NO_NETWORK}'),
        ("proxy.example.net", f'"proxy.example.net" {NO_NETWORK}'),
        (" 10.0.0.1", f'" 10.0.0.1" {NO_NETWORK}'),
        ("10.0.0.1\n", f'"10.0.0.1\\n" {NO_NETWORK}'),
        ("\u0661.0.0.0", f'"\\u0661.0.0.0" {NO_NETWORK}'),
    ],
)
def test_what_is_no_network(written, expected):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole text is compared below
        parse_network(written)
    assert str(refused.value) == expected


def test_faults_of_networks_have_their_places():
    assert faults_in('[limits]\ntrusted = ["::1", "10.0.0.1/8", 3]') == [
        "F:2:19: limits.trusted[1]: 10.0.0.1/8 has host bits set: write 10.0.0.0/8",
        "F:2:33: limits.trusted[2]: expected a string, got 3",
    ]


@given(st.text() | st.from_regex(r"[0-9a-f:./%]{1,40}", fullmatch=True))
def test_any_text_is_a_network_or_refused_in_one_safe_line(written):
    if refusal_of(parse_network, written) is None:
        assert ipaddress.ip_network(written) == parse_network(written)
