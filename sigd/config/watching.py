"""`[admin]`, `[metrics]`, `[log]` and `[record]`: operation and monitoring."""

from typing import Annotated, Literal

import msgspec

from sigd.config.kinds import LARGEST_SIZE, Bytes, Name
from sigd.config.listen import is_loopback, parse_listen
from sigd.text import shown
from sigd.toml.tables import Table

# A smaller record is full with the offer and the answer of one pair.
LEAST_RECORD = 65_536


def check_metrics_url(url: str) -> None:
    """Check the URL of metrics: tcp://HOST:PORT, on loopback.

    Raises:
        ValueError: it is another one; the text says what to write instead.
    """
    listen = parse_listen(url)
    if listen.scheme != "tcp":
        raise ValueError(f'"{shown(url)}" is not tcp://HOST:PORT, as in tcp://127.0.0.1:9337')
    if not is_loopback(listen.host):
        raise ValueError(
            f'"{shown(url)}" is beyond loopback: who scrapes from another machine goes through a proxy that says'
            " who may; listen on 127.0.0.1 or [::1]"
        )


def check_admin_url(url: str) -> None:
    """Check the URL of the admin socket: unix:/PATH.

    Raises:
        ValueError: it is another one; the text says what to write instead.
    """
    if parse_listen(url).scheme != "unix":
        raise ValueError(f'"{shown(url)}" is not unix:/PATH, as in unix:/run/sigd/admin.sock')


class Admin(Table, frozen=True):
    """`[admin]`."""

    listen: Annotated[
        str | None,
        msgspec.Meta(
            description="Where sigctl asks, as in unix:/run/sigd/admin.sock, behind which ?mode=0660 sets the"
            " permissions. Without it there is such a socket only where systemd hands one over (sigd-admin.socket)."
            " Besides root and the daemon's own user only members of `group` are answered.",
            extra={"check": check_admin_url, "restart": True},  # opened once, as listeners are
        ),
    ] = None
    group: Annotated[
        Name,
        msgspec.Meta(description="Group whose members may use it; a group that does not exist lets nobody in."),
    ] = "sigd"


class Metrics(Table, frozen=True):
    """`[metrics]`."""

    listen: Annotated[
        str | None,
        msgspec.Meta(
            description="Where Prometheus finds /metrics, and others /healthz and /readyz, as in"
            " tcp://127.0.0.1:9337; loopback only. Needs the extra `metrics`.",
            extra={"check": check_metrics_url, "restart": True},  # opened once, as listeners are
        ),
    ] = None


class Log(Table, frozen=True):
    """`[log]`."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        msgspec.Meta(description="The least severe messages that are logged."),
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json", "journal"],
        msgspec.Meta(
            description="How. text: key=value; json: an object on each line; journal: with fields, as in"
            " journalctl SIGD_PEER=cam1; auto: journal if stderr is the journal, else text."
        ),
    ] = "auto"


class Record(Table, frozen=True):
    """`[record]`."""

    bodies: Annotated[
        bool,
        msgspec.Meta(
            description="Keep the last messages of each pair of peers for a while, for `sigctl why` and"
            " `sigctl tap --since`; false: only their kinds and times.",
            extra={"restart": True},  # a change would require rewriting the record
        ),
    ] = True
    bytes: Annotated[
        Bytes,
        msgspec.Meta(
            ge=LEAST_RECORD,
            le=LARGEST_SIZE,
            description="Most memory that all of them take; the oldest go first.",
            extra={"restart": True},
        ),
    ] = 8_388_608
