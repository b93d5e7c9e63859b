"""protocol.md, section 13, against the code: macs, heads, numbers, and what becomes of messages under loss."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import pytest

from sigd.client import datagram_conversation as client_link
from sigd.client import hello as client_greeting
from sigd.net.greeted import GREETING_EXTRAS
from sigd.net.udp import CID_BYTES
from sigd.wire import cookies, datagram, greeting, macs, receiving, sending
from tests.daemon import Daemon, running_daemon
from tests.protocol_md import configured, sealed
from tests.protocol_md.document import PATH, SECTIONS, code
from tests.wire import lossy

pytestmark = pytest.mark.slow  # a process, and thousands of messages under loss: some seconds in all

TEXT: Final = " ".join(PATH.read_text(encoding="utf-8").split())


# -- 13.8: macs


def _token(user: str) -> bytes:
    """The token of a vector in section 4.2, made with the secret of 4.1."""
    secret = configured.secret_of("4.1", "auth.hmac")
    rows = (list(row.values()) for row in SECTIONS["4.2"].table("secret").rows)
    (token,) = (code(token) for key, name, token in rows if (code(key), code(name)) == (secret, user))
    return token.encode()


VECTORS: Final = [tuple(row.values()) for row in SECTIONS["13.8"].table("vector").rows]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: code(vector[0]))
def test_macs(vector: tuple[str, str, str, str]):
    """Made by hand as the text says, and by what the daemon makes them with."""
    what, named, over, expected = code(vector[0]), vector[1], code(vector[2]), code(vector[3])
    (register,) = (result for name, _, _, result in VECTORS if code(name) == "R")
    (link,) = (result for name, _, _, result in VECTORS if code(name) == "K")
    keys = {
        "the token": _token("4102444800:cam1"),
        "the new token": _token("4102444800:cam1:desk"),
        "`K`": bytes.fromhex(code(link)),
    }
    key, text = keys[named], over.replace(r"\n", "\n").encode()
    assert sealed.hmac_sha256(key, text)[: len(expected)] == expected
    if what == "K":
        label, cid, of = text.split(b"\n")
        assert label == b"sigd link 1"
        assert of.decode() == code(register)
        assert macs.link_key(key, cid, of).hex() == expected
    elif what == "N":
        cid, _, user = text[1:].partition(b"\n")
        assert macs.renewal_proof(key, cid, user.decode()).decode() == expected
    else:
        assert text.startswith(what.encode())
        assert macs.mac(key, what.encode(), text[1:]).decode() == expected
        assert macs.sealed(key, what.encode(), text[1:]) == text[1:] + b" " + expected.encode()
        assert len(text[1:] + b" " + expected.encode()) <= datagram.MAX_DATAGRAM


def test_every_mac_has_its_vector():
    made = [re.findall("`([A-Z])`, ", row["computed over"]) for row in SECTIONS["13.8"].table("what").rows]
    assert {name for names in made for name in names} | {"K"} == {code(vector[0]) for vector in VECTORS}


@pytest.fixture(scope="module")
def with_credentials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running_daemon("--config", str(configured.write("4.1", tmp_path_factory.mktemp("sealed")))) as daemon:
        yield daemon


def test_macs_with_the_daemon(with_credentials: Daemon):
    """What the text says, done by hand: the daemon makes the same macs, and takes ours."""
    token, new, new_user = _token("4102444800:cam1"), _token("4102444800:cam1:desk"), "4102444800:cam1:desk"
    with sealed.sealed(with_credentials) as cam:
        of = cam.opens("cam1", "4102444800:cam1", token)
        answer = cam.hears()
        cid = msgspec.json.decode(answer[:-33])["cid"].encode()
        key = bytes.fromhex(sealed.hmac_sha256(token, b"sigd link 1\n" + cid + b"\n" + of))
        assert answer[-32:] == sealed.mac(key, "S", answer[:-33])
        cam.says(key, "C", b'D %b 1 0 1 0/1 {"type":"ping","ref":"1"}' % cid)
        assert cam.hears_sealed(key, "S") == b'D %b 1 1 1 0/1 {"type":"pong","ref":"1"}' % cid
        cam.says(key, "C", b"A %b 1 0" % cid)
        proof = sealed.mac(new, "N", cid + b"\n" + new_user.encode()).decode()
        renewal = msgspec.json.encode({"type": "register", "user": new_user, "proof": proof})
        cam.says(key, "C", b"D %b 2 1 2 0/1 %b" % (cid, renewal))
        head, _, renewed = cam.hears_sealed(key, "S").partition(b"{")
        assert head == b"D %b 2 2 2 0/1 " % cid
        members = msgspec.json.decode(b"{" + renewed)
        assert members["type"] == "registered"
        assert members.keys().isdisjoint({"nonce", "cid"})
        cam.says(key, "C", b"A %b 2 0" % cid)
        cam.says(key, "C", b'D %b 3 2 3 0/1 {"type":"bye","to":"guest-7","ref":"2"}' % cid)
        assert b'"code":"forbidden"' in cam.hears_sealed(key, "S"), "the new token does not allow this"
        cam.says(key, "C", b"X %b" % cid)


@pytest.mark.parametrize("right", [True, False], ids=["right mac", "wrong mac"])
def test_errors_with_and_without_macs(right: bool, with_credentials: Daemon):
    token = _token("4102444800:cam1")
    with sealed.sealed(with_credentials) as cam:
        cam.opens("desk" if right else "cam1", "4102444800:cam1", token if right else token[::-1])
        error = msgspec.json.decode(cam.hears_sealed(token, "E") if right else cam.hears())
    assert error["code"] == "auth-failed"
    assert error["nonce"] == sealed.NONCE


def test_an_error_from_before_the_credential_is_looked_at(tmp_path: Path):
    token = _token("4102444800:cam1")
    file = configured.write("4.1", tmp_path)
    with (
        running_daemon("--config", str(file), "--set", "limits.udp_links=1") as daemon,
        sealed.sealed(daemon) as first,
        sealed.sealed(daemon) as second,
    ):
        first.opens("cam1", "4102444800:cam1", token)
        first.hears()
        second.opens("cam1", "4102444800:cam1", token)
        assert msgspec.json.decode(second.hears_sealed(token, "E"))["code"] == "server-full"


# -- heads and numbers


def test_heads():
    """Each is one that a link takes, and there are no others."""
    heads = [code(row["head"]) for row in SECTIONS["13.3"].table("head").rows]
    assert "".join(head[0] for head in heads) == "DAPQCXZ"
    cid = b"0123456789abcdef"
    values = {"cid": cid.decode(), "16 hexadecimal digits": "0" * 16, "bits": "0", "i": "0", "bytes": "{}"}
    for head in heads[:-1]:
        link: datagram.Channel[int] = datagram.Channel(cid, 0, server=head[0] != "C")
        text = re.sub("<([^>]+)>", lambda found: values.get(found[1], "1"), head).encode()
        before = link.next_deadline(), link.over
        if head[0] in "AQ":  # they are about what was sent
            link.ping(0.0)
            link.give(b"{}")
            link.datagrams_to_send(0.0)
            assert link.receive_untrusted(text, 0, 0.0), head
        else:
            link.receive_untrusted(text, 0, 0.0)
            assert (link.next_deadline(), link.over) != before, head


def test_numbers_of_datagrams():
    expected = {
        "a datagram, at most": datagram.MAX_DATAGRAM,
        "a `register` that is answered by a `challenge`, at least": greeting.LEAST_REGISTER,
        "a cookie is good for, at least": cookies.TICK_SECONDS * 1_000,
        "a cookie is good for, at most": cookies.TICK_SECONDS * 2_000,
        "a message, at most": datagram.MAX_MESSAGE,
        "slices of a message, at most": datagram.MAX_SLICES,
        "a slice that is not the last, at least": datagram.LEAST_SLICE,
        "a slice of the server's": sending.SLICE_BYTES,
        "datagrams ahead of the acknowledged ones that are kept, at most": datagram.GAP,
        "messages ahead of the next that are kept, at most": datagram.AHEAD,
        "an acknowledgement may wait": datagram.ACK_SECONDS * 1_000,
        "time-out, before anything was measured": sending.FIRST_TIMEOUT * 1_000,
        "time-out, at least": sending.LEAST_TIMEOUT * 1_000,
        "time-out, at most": sending.LONGEST_TIMEOUT * 1_000,
        "later datagrams acknowledged, after which one may go again at once": sending.LATER_ONES,
        "unacknowledged datagrams, at first": sending.FIRST_WINDOW,
        "unacknowledged datagrams, at most": sending.MOST_WINDOW,
        "time for a datagram to be acknowledged": sending.UNACKNOWLEDGED_SECONDS * 1_000,
        "time for a message to become whole": receiving.WHOLE_SECONDS * 1_000,
        "between two `P`, or two `C`": sending.PING_SECONDS * 1_000,
        "a `C`, and what is answered by one at least": sending.CHALLENGE_BYTES,
        "a mac, with the space in front of it": macs.TAIL_BYTES,
        "silence after which a client sends `P`": client_link.SILENT_SECONDS * 1_000,
        "the same, if that is longer": client_link.SHARE_OF_KEEPALIVE,
        "time for a server to show that a `Z` was wrong": client_link.DENIED_SECONDS * 1_000,
        "time for something better than an `auth-failed` without mac": client_greeting.DOUBTFUL_SECONDS * 1_000,
    }
    assert sending.PING_SECONDS == sending.CHALLENGE_SECONDS
    assert {row["what"]: row["number"] for row in SECTIONS["13.11"].table("what").rows} == {
        what: f"{number:g}" for what, number in expected.items()
    }


@pytest.mark.parametrize(
    "claim",
    [
        f"**A datagram** has at most {datagram.MAX_DATAGRAM} bytes",
        f"The datagram has at least {greeting.LEAST_REGISTER} bytes",
        f"good for {cookies.TICK_SECONDS:g} to {2 * cookies.TICK_SECONDS:g} s",
        f"1 to {client_greeting.LONGEST_COOKIE} characters",
        f"longer than {datagram.MAX_DATAGRAM - GREETING_EXTRAS} bytes they are left out",
        f"not answered within {client_greeting.FIRST_SECONDS:g} s",
        f"every {client_greeting.LONGEST_SECONDS:g} s; these pauses",
        f"at most {datagram.MAX_SLICES}, each of them but the last of at least {datagram.LEAST_SLICE} bytes",
        f"The server sends slices of {sending.SLICE_BYTES} bytes; a client is ready for datagrams of "
        f"{datagram.MAX_DATAGRAM}",
        f"of the {datagram.GAP} behind it",
        f"It is {sending.FIRST_TIMEOUT:g} s at first",
        f"at least {sending.LEAST_TIMEOUT:g} s and at most {sending.LONGEST_TIMEOUT:g} s",
        f"not acknowledged {sending.UNACKNOWLEDGED_SECONDS:g} s after it was sent first",
        f"At most {sending.FIRST_WINDOW} datagrams may be unacknowledged at first",
        f"have been acknowledged, up to {sending.MOST_WINDOW}",
        f"up to {datagram.GAP} datagrams and {datagram.AHEAD} messages ahead",
        f"may wait {datagram.ACK_SECONDS * 1_000:g} ms",
        f"not whole {receiving.WHOLE_SECONDS:g} s after its first slice",
        f"sent at most {datagram.MAX_MESSAGE} bytes",
        f"above {datagram.MAX_MESSAGE} as {datagram.MAX_MESSAGE}",
        f"nothing for {client_link.SILENT_SECONDS:g} s, or for {client_link.SHARE_OF_KEEPALIVE:g} times",
        f"{sending.CHALLENGE_BYTES} bytes, {sending.CHALLENGE_BYTES + macs.TAIL_BYTES} with a mac",
        f"all {macs.TAIL_BYTES} bytes count",
        f"{macs.MAC_LETTERS} hexadecimal digits in small letters: the first {macs.MAC_LETTERS // 2} bytes",
        f"{2 * CID_BYTES} hexadecimal digits",
        f"nothing that verifies has come {client_greeting.DOUBTFUL_SECONDS:g} s later",
        f"no sign of life comes within {client_link.DENIED_SECONDS:g} s",
    ],
)
def test_numbers_of_datagrams_in_the_text(claim: str):
    assert claim in TEXT


def test_what_becomes_of_messages_under_loss():
    assert lossy.table() in PATH.read_text(encoding="utf-8")
    assert f"has {lossy.FIGURE_BYTES} bytes" in TEXT
