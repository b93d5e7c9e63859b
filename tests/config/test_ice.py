"""`[ice]`: the URLs of STUN and TURN servers, as RFC 7064 and RFC 7065 have them, and what belongs together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.config import Ice
from sigd.config.ice import check_stun_url, check_turn_url
from tests.configs import faults_in, loaded, refusal_of


def test_all_keys():
    config = loaded(
        '[ice]\nstun_urls = ["stun:a"]\nturn_urls = ["turn:a", "turns:a"]\nturn_secret_file = "turn"\n'
        "turn_ttl_ms = 120000"
    )
    assert config.ice == Ice(("stun:a",), ("turn:a", "turns:a"), "turn", 120_000)


@pytest.mark.parametrize("url", ["stun:a", "stuns:a.example:5349", "stun:[2001:db8::1]:1", "stun:192.0.2.1:65535"])
def test_stun_url(url):
    check_stun_url(url)


@pytest.mark.parametrize(
    "url",
    ["turn:a", "turn:a:3478?transport=udp", "turns:a.b?transport=tcp", "turn:[::1]?transport=udp", "turn:1.2.3.4:1"],
)
def test_turn_url(url):
    check_turn_url(url)


def _other(kind: str) -> str:
    return f"is neither {kind}:HOST:PORT, as in {kind}:ice.example.net, nor {kind}s:"


def _port(scheme: str) -> str:
    return f"after {scheme}: expected only HOST:PORT, the port from 0 to 65535"


@pytest.mark.parametrize(
    ("check", "url", "expected"),
    [
        (check_stun_url, "stun://a", '"stun://a": remove the //, as in stun:ice.example.net'),
        (check_turn_url, "turns://a:1", '"turns://a:1": remove the //, as in turns:ice.example.net'),
        (check_stun_url, "turn:a", f'"turn:a" {_other("stun")}'),
        (check_turn_url, "stun:a", f'"stun:a" {_other("turn")}'),
        (check_turn_url, "TURN:a", f'"TURN:a" {_other("turn")}'),
        (check_stun_url, "a.example:3478", f'"a.example:3478" {_other("stun")}'),
        (check_stun_url, "stun", f'"stun" {_other("stun")}'),
        (check_stun_url, "", f'"" {_other("stun")}'),
        (check_stun_url, "stun:a\n", f'"stun:a\\n" {_other("stun")}'),
        (
            check_stun_url,
            "stun:a?transport=udp",
            '"stun:a?transport=udp": nothing may follow HOST:PORT; ?transport= is for turn: URLs only',
        ),
        (check_turn_url, "turn:a?", '"?": only ?transport=udp or ?transport=tcp may follow HOST:PORT'),
        (
            check_turn_url,
            "turn:a?transport=tls",
            '"?transport=tls": only ?transport=udp or ?transport=tcp may follow HOST:PORT',
        ),
        (
            check_turn_url,
            "turn:a?transport=udp&x=1",
            '"?transport=udp&x=1": only ?transport=udp or ?transport=tcp may follow HOST:PORT',
        ),
        (check_stun_url, "stun:", "after stun: expected HOST or HOST:PORT, the port not 0"),
        (check_stun_url, "stun::1", "after stun: expected HOST or HOST:PORT, the port not 0"),
        (check_turn_url, "turn:a:0", "after turn: expected HOST or HOST:PORT, the port not 0"),
        (check_turn_url, "turn:a:65536", _port("turn")),
        (check_turn_url, "turn:user@a", _port("turn")),
        (check_turn_url, "turn:a/", _port("turn")),
        (check_turn_url, "turn:::1", "write an IPv6 address in brackets, as in turn:[::1]:3478"),
        (check_turn_url, "turn:*", '"*" is not a host name or address'),
    ],
)
def test_what_is_no_url(check, url, expected):
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the whole text is compared below
        check(url)
    assert str(refused.value) == expected


@given(st.sampled_from(["", "stun:", "turn:[", "turns:a?", "turn:a:"]), st.text())
def test_any_text_is_a_url_or_refused_in_one_safe_line(start, rest):
    for check in (check_stun_url, check_turn_url):
        assert refusal_of(check, start + rest) is not None or (start + rest).isprintable()


FAULTS: dict[str, tuple[str, list[str]]] = {
    "urls without secret": (
        '[ice]\nturn_urls = ["turn:a"]',
        ["F:2:1: `turn_urls` has no effect without `turn_secret_file`: add `turn_secret_file`, or remove `turn_urls`"],
    ),
    "secret without urls": (
        '[ice]\nturn_secret_file = "/s"',
        ["F:2:1: `turn_secret_file` has no effect without `turn_urls`: add `turn_urls`, or remove `turn_secret_file`"],
    ),
    "one of the urls is faulty": (
        '[ice]\nturn_urls = ["stun:a"]\nturn_secret_file = "/s"',
        [f'F:2:14: ice.turn_urls[0]: "stun:a" {_other("turn")}'],
    ),
    "time": (
        "[ice]\nturn_ttl_ms = 119999",
        ["F:2:1: ice.turn_ttl_ms: expected an integer from 120000 to 86400000 (milliseconds), got 119999"],
    ),
    "for whoever reaches the port": (
        'insecure = true\n[ice]\nturn_secret_file = "/s"\nturn_urls = ["turn:a"]',
        [
            "F:3:1: with `insecure = true` anyone who can reach the port would get TURN credentials: configure [auth]"
            " instead, or remove `turn_secret_file` and `turn_urls`"
        ],
    ),
    "stun for whoever reaches the port": ('insecure = true\n[ice]\nstun_urls = ["stun:a"]', []),
}


@pytest.mark.parametrize(("text", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_faults(text, expected):
    assert faults_in(text) == expected
