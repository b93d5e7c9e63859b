"""docs/vectors.json is enough to test a client with: its tokens, macs and exchanges hold by themselves."""

import base64
import hmac
import json
import socket

from tests.daemon import HANG_SECONDS, running_daemon
from tests.docs.pages import read

VECTORS = json.loads(read("docs/vectors.json"))


def digest(key: bytes, text: str) -> bytes:
    return hmac.digest(key, text.encode(), "sha256")


def test_tokens():
    assert VECTORS["tokens"]
    for each in VECTORS["tokens"]:
        assert base64.b64encode(digest(each["secret"].encode(), each["user"])).decode() == each["token"]


def test_macs():
    tokens = {each["user"]: each["token"].encode() for each in VECTORS["tokens"]}
    (link,) = (bytes.fromhex(each["mac"]) for each in VECTORS["macs"] if each["name"] == "K")
    keys = {"the token": tokens["4102444800:cam1"], "the new token": tokens["4102444800:cam1:desk"], "K": link}
    assert {each["key"] for each in VECTORS["macs"]} == set(keys)
    for each in VECTORS["macs"]:
        assert digest(keys[each["key"]], each["text"]).hex()[: len(each["mac"])] == each["mac"], each["name"]


def test_exchanges_with_a_daemon():
    assert len(VECTORS["exchanges"]) >= 7
    with running_daemon() as daemon:
        for each in VECTORS["exchanges"]:
            with socket.create_connection(("127.0.0.1", daemon.port), HANG_SECONDS) as link:
                heard = link.makefile("rb")
                for turn in each["bytes"]:
                    if "client" in turn:
                        link.sendall(bytes.fromhex(turn["client"]))
                    else:
                        expected = bytes.fromhex(turn["server"])
                        assert heard.read(len(expected)) == expected, each["section"]
                if each["closes"]:
                    assert heard.read() == b""
                heard.close()
