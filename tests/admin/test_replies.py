"""Replies on the admin socket: their names on the wire."""

import msgspec

from sigd.admin import replies
from sigd.admin.replies import SCHEMA


def test_answers_say_what_they_are_and_of_which_schema() -> None:
    for reply in (
        replies.KickReply(peer="a", address="b"),
        replies.Refused(code="internal", message="x"),
        replies.ReloadReply(before="a", after="b"),
    ):
        answer = msgspec.json.decode(replies.encode(reply))
        assert (answer["type"], answer["schema"]) == (type(reply).__struct_config__.tag, SCHEMA)


def test_members_are_spelt_as_on_the_wire() -> None:
    told = replies.TappedReply(at=1.0, sender="a", to="b", kind="offer", bytes=3)
    assert msgspec.json.decode(replies.encode(told))["from"] == "a"
    row = replies.PeerRow(id="a", via="tcp", framing="lines", address="x", since=1.0, outbox_bytes=4)
    assert msgspec.json.decode(replies.encode(row))["outboxBytes"] == 4
