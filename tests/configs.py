"""Configurations as files and command lines, the faults that are found in them, and any configuration at all."""

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from hypothesis import strategies as st

from sigd.config import (
    Admin,
    Auth,
    Config,
    ConfigError,
    Entry,
    Ice,
    Limits,
    Listener,
    Log,
    Metrics,
    Record,
    UnixEntry,
    load,
)
from sigd.config.auth import check_account, check_name_glob
from sigd.config.ice import check_stun_url, check_turn_url
from sigd.config.kinds import check_file_name, check_glob, check_named_glob, check_not_empty
from sigd.config.limits import parse_network
from sigd.toml.tables import Kind, Table, kind_of


def faults_of(attempt: Callable[[], object]) -> list[str]:
    """The lines of the faults that an attempt meets, none if it succeeds."""
    try:
        attempt()
    except ConfigError as error:
        return [str(fault) for fault in error.faults]
    return []


def refusal_of(attempt: Callable[[str], object], written: str) -> str | None:
    """What is said of a text that is refused, in one line that a terminal may show; None if it is taken."""
    try:
        attempt(written)
    except ValueError as error:
        said = str(error)
    else:
        return None
    assert said.isascii()
    assert said.isprintable()
    assert len(said) < 400  # what it quotes is cut short
    return said


def check(file: Path, text: str, listen: Sequence[str] = (), sets: Sequence[str] = ()) -> list[str]:
    """The faults of a file with this text, with its path written `F`."""
    file.write_bytes(text.encode())
    return [line.replace(str(file), "F") for line in faults_of(lambda: load(str(file), listen, sets))]


def faults_in(text: str) -> list[str]:
    """The same, in a file of their own."""
    with tempfile.TemporaryDirectory() as folder:
        return check(Path(folder, "sigd.toml"), text)


def loaded(text: str) -> Config:
    """The configuration in a file with this text."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "sigd.toml")
        file.write_text(text)
        return load(str(file))


# Any configuration: from what the fields say that they take.


def _text(regex: str) -> st.SearchStrategy[str]:
    return st.from_regex(regex, fullmatch=True)


FILES = _text(r"(/[a-z \u00e9]{1,5}){1,2}|[a-z]{3,6}")
TEXTS: dict[Any, st.SearchStrategy[str]] = {
    check_account: st.sampled_from(["root", "www-data", "0", "1000"]),
    check_name_glob: _text(r"[ -~]{1,9}"),
    check_stun_url: st.sampled_from(["stun:a.example", "stuns:[::1]:1"]),
    check_turn_url: st.sampled_from(["turn:10.0.0.1?transport=udp", "turns:a:65535?transport=tcp", "turn:b"]),
    check_file_name: FILES,
    check_glob: _text(r"[A-Za-z0-9_.~*-]{1,64}"),
    check_named_glob: st.sampled_from(["*", "{name}", "a-*"]),
    check_not_empty: st.characters(codec="ascii", categories=["L", "N", "P"]),
    parse_network: st.sampled_from(["10.0.0.0/8", "192.0.2.1", "2001:db8::/64"]),
}
AnyTable = TypeVar("AnyTable", bound=Table)


def _any_value(kind: Kind) -> st.SearchStrategy[Any]:
    if kind.table:
        return any_table(kind.table)
    if kind.item:
        return st.lists(_any_value(kind_of(kind.item)), min_size=kind.min_length, max_size=2).map(tuple)
    if get_origin(kind.bare) is Literal:
        return st.sampled_from(get_args(kind.bare))
    if kind.bare is bool:
        return st.booleans()
    if kind.bare is int:
        assert isinstance(kind.least, int)
        assert isinstance(kind.most, int)
        return st.integers(kind.least, kind.most)
    return TEXTS[kind.check]


def any_table(kind: type[AnyTable], **given: st.SearchStrategy[Any]) -> st.SearchStrategy[AnyTable]:
    """Any table of a kind, by what its fields take, and some as given; what belongs together may not fit."""
    if issubclass(kind, Entry):  # the largest frame of any limits fits
        given["bytes_burst"] = st.none() | st.integers(2**24 + 4, 2**40)
    if kind is UnixEntry:
        given["users"] = st.just(("root",))
    fields = {field.name: field for field in msgspec.structs.fields(kind) if field.name not in given}
    values = {name: _any_value(kind_of(field.type)) for name, field in fields.items()}
    absent = {name: st.none() | values[name] for name, field in fields.items() if field.default is None}
    return st.builds(kind, **{**values, **absent, **given})


@st.composite
def limits(draw: st.DrawFn) -> Limits:
    """Any limits that fit each other."""
    max_frame = draw(st.integers(1024, 2**24 - 1))
    outbox = draw(st.integers(max_frame + 4, 2**40))
    unregistered = draw(st.integers(1, 2**30))
    table = any_table(
        Limits,
        max_unregistered=st.just(unregistered),
        max_unregistered_per_address=st.integers(0, unregistered),
        max_frame_unregistered=st.integers(1024, max_frame),
        max_frame=st.just(max_frame),
        outbox_bytes=st.just(outbox),
        outbox_bytes_per_sender=st.integers(1, outbox),
        buffer_bytes_total=st.integers(outbox, 2**40),
        bytes_burst=st.integers(max_frame + 4, 2**40),
    )
    return draw(table)


SOCKETS = st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="?/"), min_size=1, max_size=26)
LOCAL = st.builds("tcp://{}:{}".format, st.sampled_from(["[::1]", "127.0.0.1"]), st.integers(2, 65535))
CERTIFIED = {"certificate": FILES, "key": FILES}


@st.composite
def listeners(draw: st.DrawFn, auth: Auth) -> tuple[Listener, ...]:
    """Any listeners that these credentials can be shown to."""
    plain = st.builds(Listener, LOCAL | st.builds("unix:/{}".format, SOCKETS))
    chosen = draw(st.lists(plain, min_size=1, max_size=3, unique_by=lambda listener: listener.url))
    if auth.unix:
        chosen.append(Listener("unix:/with/users"))
    if auth.certificate:
        optional = st.sampled_from(["required", "optional"])
        chosen.append(
            draw(
                st.builds(Listener, st.just("tls://[::]:1"), **CERTIFIED, client_ca=FILES, client_certificate=optional)
            )
        )
    if auth.configured and draw(st.booleans()):
        chosen.append(Listener("tcp://192.0.2.1", plaintext=True))
    return tuple(chosen)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    """Any configuration without a fault."""
    auth = draw(st.just(Auth()) | any_table(Auth).filter(lambda auth: not [*auth.conflicts()]))
    insecure = not auth.configured and draw(st.booleans())
    ice = any_table(Ice, turn_urls=st.just(()), turn_secret_file=st.none())
    if not insecure:
        ice |= any_table(Ice, turn_urls=st.just(("turn:a", "turns:b:1?transport=tcp")), turn_secret_file=FILES)
    return Config(
        listen=draw(listeners(auth)),
        insecure=insecure,
        log=draw(any_table(Log)),
        auth=auth,
        ice=draw(ice),
        limits=draw(limits()),
        admin=draw(any_table(Admin, listen=st.none() | st.just("unix:/run/sigd/admin.sock?mode=0660"))),
        metrics=draw(any_table(Metrics, listen=st.none() | st.just("tcp://[::1]:9337"))),
        record=draw(any_table(Record)),
    )
