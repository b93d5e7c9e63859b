"""What differs between two configurations: every key, each once, with what it was and what it is."""

from typing import Annotated

import msgspec
import pytest
from hypothesis import given, settings

from sigd.config import (
    Auth,
    Config,
    HmacEntry,
    Ice,
    Limits,
    Listener,
    Log,
    TokenEntry,
    UnixEntry,
)
from sigd.toml.changes import Change, changes
from sigd.toml.tables import Table
from tests.configs import configs

DOOR = TokenEntry("/etc/sigd/door", ("door*",))
GATE = TokenEntry("/etc/sigd/gate", ("gate*",))
HALL = TokenEntry("/etc/sigd/hall", ("hall*",))


def said(old: Table, new: Table) -> list[str]:
    return [f"{change}{' !' if change.needs_restart else ''}" for change in changes(old, new)]


def test_nothing_changed():
    assert said(Config(), Config()) == []


def test_keys_in_their_order_with_both_values():
    old = Config()
    new = Config(
        insecure=True,
        log=Log(level="debug"),
        ice=Ice(stun_urls=("stun:a",), turn_secret_file="/etc/sigd/turn"),
        limits=Limits(messages_per_second=200, max_connections=5, trusted=("10.0.0.0/8",)),
    )
    assert said(old, new) == [
        "insecure false -> true",
        'log.level "info" -> "debug"',
        'ice.stun_urls [] -> ["stun:a"]',
        'ice.turn_secret_file none -> "/etc/sigd/turn"',
        "limits.max_connections 10000 -> 5 !",
        'limits.trusted [] -> ["10.0.0.0/8"]',
        "limits.messages_per_second 100 -> 200",
    ]
    assert [*changes(old, new)][-1] == Change("limits.messages_per_second", "100", "200", needs_restart=False)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ((), (DOOR,), ["auth.token[0] added"]),
        ((DOOR,), (), ["auth.token[0] removed"]),
        ((DOOR, GATE), (GATE,), ["auth.token[0] removed"]),
        ((GATE,), (DOOR, GATE, HALL), ["auth.token[0] added", "auth.token[2] added"]),
        ((DOOR, GATE, HALL), (DOOR, HALL), ["auth.token[1] removed"]),
        (
            (DOOR, GATE),
            (DOOR, msgspec.structs.replace(GATE, talk=("x",), messages_burst=7)),
            ['auth.token[1].talk ["*"] -> ["x"]', "auth.token[1].messages_burst none -> 7"],
        ),
        (
            (DOOR, GATE),
            (msgspec.structs.replace(DOOR, register=("d",)), GATE, HALL),
            ['auth.token[0].register ["door*"] -> ["d"]', "auth.token[2] added"],
        ),
        (
            (GATE, HALL),
            (DOOR,),
            [
                'auth.token[0].secret_file "/etc/sigd/gate" -> "/etc/sigd/door"',
                'auth.token[0].register ["gate*"] -> ["door*"]',
                "auth.token[1] removed",
            ],
        ),
    ],
)
def test_tables_of_an_array_come_and_go_and_change(old, new, expected):
    assert said(Config(auth=Auth(token=old)), Config(auth=Auth(token=new))) == expected


def test_what_comes_or_goes_has_no_value_on_one_side():
    (added,) = changes(Auth(), Auth(hmac=(HmacEntry("/s"),)))
    (removed,) = changes(Auth(unix=(UnixEntry(("*",), ("root",)),)), Auth())
    assert (added.path, added.old, added.new) == ("hmac[0]", None, "{...}")
    assert (removed.path, removed.old, removed.new) == ("unix[0]", "{...}", None)


def test_listeners_need_a_restart_but_for_what_they_are_asked():
    first, second = Listener("tls://127.0.0.1:1", "/c", "/k"), Listener("unix:/a")
    old = Config(listen=(first, second))
    assert said(old, Config(listen=(second,))) == ["listen[0] removed !"]
    assert said(old, Config(listen=(first, second, Listener("unix:/b")))) == ["listen[2] added !"]
    assert said(old, Config(listen=(first, Listener("unix:/b")))) == ['listen[1].url "unix:/a" -> "unix:/b" !']
    assert said(old, Config(listen=(msgspec.structs.replace(first, certificate="/d"), second))) == [
        'listen[0].certificate "/c" -> "/d"'
    ]


class Inner(Table, frozen=True):
    note: Annotated[str, msgspec.Meta(description="Anything.")] = ""


class Outer(Table, frozen=True):
    spare: Annotated[Inner | None, msgspec.Meta(description="Perhaps.")] = None
    word: Annotated[str, msgspec.Meta(description="Short.", extra={"restart": True})] = msgspec.field(
        name="long-word", default=""
    )


def test_a_table_that_may_be_absent():
    assert said(Outer(), Outer(Inner())) == ["spare added"]
    assert said(Outer(Inner()), Outer()) == ["spare removed"]
    assert said(Outer(Inner("a")), Outer(Inner("b"))) == ['spare.note "a" -> "b"']


def test_keys_as_they_are_written_and_values_that_steer_no_terminal():
    (change,) = changes(Outer(), Outer(word="\x1b[2J\n\u202e" + "x" * 1000))
    assert change.path == "long-word"
    assert change.needs_restart
    assert change.new is not None
    assert change.new.startswith('"\\u001b[2J\\u000a\\u202exxx')
    assert len(change.new) == 128
    assert change.new.endswith("...")


@settings(max_examples=20)  # two whole configurations are a lot to draw
@given(configs(), configs())
def test_there_are_changes_exactly_where_something_differs(old, new):
    assert [*changes(old, old)] == []
    found = [*changes(old, new)]
    assert bool(found) == (old != new)
    now = [change.path for change in found if change.new is not None]  # what was removed is counted as it was
    assert len(set(now)) == len(now)
    for change in found:
        assert str(change).isascii()
        assert str(change).isprintable()
        assert change.old != change.new or "..." in (change.old or "")
