"""Man pages, from what the programs themselves go by: their parsers, and the configuration's Structs.

    python -m man.pages FOLDER    writes sigd.8, sigctl.1 and sigd.toml.5 there

A test fails when those in this folder are not what this writes (`make man`).
"""

import argparse
import re
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import msgspec

import sigd
from man.parsers import Option, commands, options, sections, usage
from sigd import cli, ctl
from sigd.config import Config
from sigd.toml.render import taken
from sigd.toml.tables import Kind, Table, kind_of

SIGNALS: Final = {
    "SIGTERM, SIGINT": "Take nobody in any more, tell every peer to come back later, end their links one after the"
    " other over limits.drain_ms, and exit at most 2 seconds after that. A second one ends it at once.",
    "SIGHUP": "Read the configuration again, with secrets and certificates. Nobody is disconnected whose credential"
    " still holds; any fault keeps all as it was.",
    "SIGUSR2": "Hand over to the next process: connections over TCP without TLS, Unix sockets and UDP, and what is due"
    " to them, go into systemd's descriptor store. The unit sends it for `systemctl restart`. Without such a store"
    " nothing happens.",
}

ENVIRONMENT: Final = {
    "LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID": "Sockets that systemd has opened (sd_listen_fds(3)): one called admin is"
    " where sigctl asks, all others are listened on.",
    "NOTIFY_SOCKET, WATCHDOG_USEC": "Where systemd wants to hear how it goes (sd_notify(3)), and how often.",
    "CREDENTIALS_DIRECTORY": "Where files lie that are named without a folder (LoadCredential= of systemd.exec(5)).",
    "JOURNAL_STREAM": "Shows that standard error is the journal, which then gets fields: SIGD_PEER, SIGD_ADDRESS,"
    " SIGD_REASON and others.",
}

FILES: Final = {
    "/etc/sigd/sigd.toml": "The configuration of the service; see sigd.toml(5).",
    "/etc/sigd/secret": "The secret that `make install` has made, for [[auth.hmac]]; root:sigd, mode 0640.",
    "/run/sigd/admin.sock": "Where sigctl asks.",
}


class Page(NamedTuple):
    """One man page, its text aside."""

    name: str
    section: int
    purpose: str
    others: str

    @property
    def file(self) -> str:
        """What its file is called."""
        return f"{self.name}.{self.section}"

    def head(self) -> Iterator[str]:
        """Yield title and name."""
        yield f'.TH {self.name.upper()} {self.section} "" "sigd {sigd.__version__}"'
        yield ".SH NAME"
        yield f"{self.name} \\- {escaped(self.purpose)}"

    def tail(self) -> Iterator[str]:
        """Yield where to read on."""
        yield ".SH SEE ALSO"
        yield escaped(self.others)


SIGD: Final = Page("sigd", 8, "WebRTC signaling daemon", "sigctl(1), sigd.toml(5), systemd.socket(5), journalctl(1)")
SIGCTL: Final = Page("sigctl", 1, "ask and steer the WebRTC signaling daemon", "sigd(8), sigd.toml(5)")
TOML: Final = Page("sigd.toml", 5, "configuration of the WebRTC signaling daemon", "sigd(8), sigctl(1)")


def escaped(text: str) -> str:
    """Text that roff prints as it stands; hyphens stay what one can copy into a shell."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^(?=[.'])", r"\\&", text, flags=re.MULTILINE)


def literal(text: str) -> Iterator[str]:
    """Yield lines that are not filled."""
    yield ".nf"
    yield escaped(textwrap.dedent(text).strip("\n"))
    yield ".fi"


def defined(terms: dict[str, str]) -> Iterator[str]:
    """Yield a list of terms and what they mean."""
    for term, text in terms.items():
        yield ".TP"
        yield f"\\fB{escaped(term)}\\fR"
        yield escaped(text)


# -- programs


def program(page: Page, parser: argparse.ArgumentParser, more: dict[str, dict[str, str]]) -> str:
    """The page of a program.

    Args:
        page: which.
        parser: what it takes.
        more: further sections, by their titles.
    """
    lines = [*page.head(), ".SH SYNOPSIS", escaped(usage(parser)), ".SH DESCRIPTION", *_prose(parser.description)]
    lines += [".SH OPTIONS", *_options(parser)]
    inner = commands(parser)
    if inner:
        lines.append(".SH COMMANDS")
    for command in inner:
        lines += _command(command)
    lines += _epilog(parser.epilog)
    for title, terms in more.items():
        lines += [f".SH {title}", *defined(terms)]
    return "\n".join([*lines, *page.tail()]) + "\n"


def _command(parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f'.SS "{escaped(parser.prog.partition(" ")[2])}"'
    yield escaped(usage(parser))
    yield ".PP"
    yield from _prose(parser.description)
    yield from _options(parser)
    yield from (line.replace(".SH EXAMPLES", ".PP\nExamples:\n.PP") for line in _epilog(parser.epilog, "examples"))


def _prose(text: str | None) -> Iterator[str]:
    for number, paragraph in enumerate((text or "").strip().split("\n\n")):
        if number:
            yield ".PP"
        yield escaped(" ".join(paragraph.split()))


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for option in options(parser):
        yield ".TP"
        yield _spelled(option)
        yield escaped(option.text)


def _spelled(option: Option) -> str:
    if not option.names:
        return f"\\fI{escaped(option.taken)}\\fR"
    names = ", ".join(f"\\fB{escaped(name)}\\fR" for name in option.names)
    return f"{names} \\fI{escaped(option.taken)}\\fR" if option.taken else names


def _epilog(text: str | None, only: str = "") -> Iterator[str]:
    """Yield the sections behind the options."""
    for title, body in sections(text):
        if not only or title == only:
            yield f".SH {title.upper()}"
            yield from literal(body)


# -- the configuration


def configuration() -> str:
    """The page of the configuration file."""
    lines = [*TOML.head(), ".SH DESCRIPTION"]
    lines += _prose(
        "A file in TOML. Every key has a default, so that an empty file is a configuration; a key that does not exist"
        " is a fault, and with any fault nothing starts, or changes. `sigd --print-config` prints all keys with these"
        " texts, and `sigd --config FILE --check` finds all faults, each with line and column.\n\n"
        "SIGHUP (systemctl reload sigd, sigctl reload) has a changed file hold, but for keys of which it says here that"
        " a change needs a restart."
    )
    lines += [".SH KEYS", *_keys(Config, "")]
    lines += [".SH FILES", *defined({"/etc/sigd/sigd.toml": "What the service reads."})]
    return "\n".join([*lines, *TOML.tail()]) + "\n"


def _keys(shape: type[Table], path: str) -> Iterator[str]:
    tables: list[tuple[str, Kind]] = []
    for field in msgspec.structs.fields(shape):
        kind = kind_of(field.type)
        if kind.table or kind_of(kind.item).table:
            tables.append((f"{path}.{field.encode_name}" if path else field.encode_name, kind))
            continue
        yield ".TP"
        yield f"\\fB{escaped(field.encode_name)}\\fR"
        yield escaped(f"{kind.description} {taken(field, kind)}".strip())
    for name, kind in tables:
        inner = kind.table or kind_of(kind.item).table
        assert inner
        yield f".SS {f'[{name}]' if kind.table else f'[[{name}]]'}"
        yield escaped(kind.description)
        yield from _keys(inner, name)


def pages() -> dict[str, str]:
    """All pages, by the names of their files."""
    return {
        SIGD.file: program(SIGD, cli.parser(), {"SIGNALS": SIGNALS, "ENVIRONMENT": ENVIRONMENT, "FILES": FILES}),
        SIGCTL.file: program(SIGCTL, ctl.parser(), {"FILES": {"/run/sigd/admin.sock": FILES["/run/sigd/admin.sock"]}}),
        TOML.file: configuration(),
    }


if __name__ == "__main__":
    for file, text in pages().items():
        (Path(sys.argv[1]) / file).write_text(text)
