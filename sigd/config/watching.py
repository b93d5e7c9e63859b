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
        ValueError: it is another one; the text names a valid value.
    """
    listen = parse_listen(url)
    if listen.scheme != "tcp":
        raise ValueError(f'"{shown(url)}" is not tcp://HOST:PORT, as in tcp://127.0.0.1:9337')
    if not is_loopback(listen.host):
        raise ValueError(
            f'"{shown(url)}" is beyond loopback: listen on 127.0.0.1 or [::1], and let other machines scrape'
            " through a proxy with access control"
        )


def check_admin_url(url: str) -> None:
    """Check the URL of the admin socket: unix:/PATH.

    Raises:
        ValueError: it is another one; the text names a valid value.
    """
    if parse_listen(url).scheme != "unix":
        raise ValueError(f'"{shown(url)}" is not unix:/PATH, as in unix:/run/sigd/admin.sock')


class Admin(Table, frozen=True):
    """`[admin]`."""

    listen: Annotated[
        str | None,
        msgspec.Meta(
            description="URL of the admin socket, as in unix:/run/sigd/admin.sock, optionally with ?mode=0660 for"
            " its permissions. Without this key the socket exists only if systemd passes one (sigd-admin.socket)."
            " Only root, the daemon's own user and members of `group` have access.",
            extra={"check": check_admin_url, "restart": True},  # opened once, as listeners are
        ),
    ] = None
    group: Annotated[
        Name,
        msgspec.Meta(description="Group whose members have access; a group that does not exist has no members."),
    ] = "sigd"


class Metrics(Table, frozen=True):
    """`[metrics]`."""

    listen: Annotated[
        str | None,
        msgspec.Meta(
            description="URL of /metrics for Prometheus and of /healthz and /readyz, as in tcp://127.0.0.1:9337;"
            " loopback only. Needs the extra `metrics`.",
            extra={"check": check_metrics_url, "restart": True},  # opened once, as listeners are
        ),
    ] = None


class Log(Table, frozen=True):
    """`[log]`."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        msgspec.Meta(description="Minimum severity of logged messages."),
    ] = "info"
    format: Annotated[
        Literal["auto", "text", "json", "journal"],
        msgspec.Meta(
            description="Format. text: key=value; json: one object per line; journal: with fields, as in journalctl"
            " SIGD_PEER=cam1; auto: journal if stderr is the journal, else text."
        ),
    ] = "auto"


class Record(Table, frozen=True):
    """`[record]`."""

    bodies: Annotated[
        bool,
        msgspec.Meta(
            description="Whether to keep the last messages of each pair of peers for `sigctl why` and `sigctl tap"
            " --since`; false: only their types and times.",
            extra={"restart": True},  # a change would require rewriting the record
        ),
    ] = True
    bytes: Annotated[
        Bytes,
        msgspec.Meta(
            ge=LEAST_RECORD,
            le=LARGEST_SIZE,
            description="Maximum memory for the record; the oldest messages go first.",
            extra={"restart": True},
        ),
    ] = 8_388_608
