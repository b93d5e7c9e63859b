"""`sigctl token`: makes expiring credentials from a secret shared with the daemon."""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from sigd.ctl.command_line import DEFAULT_CONFIG, PROGRAM, Commands, EndedError
from sigd.ctl.printing import put_json
from sigd.ctl.quantities import parse_seconds
from sigd.terminal import EXIT_FAULT, put_out, say

if TYPE_CHECKING:
    from sigd.config import Auth, HmacEntry

# Ten years: a device in the field may keep its token for life, and longer amounts to no expiry.
LONGEST_TTL = 3650 * 86_400

TEXT = """\
Makes a credential for `register`: its user and token members, as one line of
JSON on standard output. It is derived from the secret of [[auth.hmac]], which
the daemon shares: nothing is sent or stored.
"""

EXAMPLES = """\
  sigctl token --id cam1 --ttl 30d    for one device
  sigctl token --id 'cam*' --talk 'hub*' --ttl 1h30m
  sigctl token --id bob --ttl 15m --secret-file /etc/sigd/hmac
"""


def describe(commands: Commands) -> None:
    """Add the command of this module."""
    token = commands.add(
        "token",
        _token,
        summary="make an expiring credential",
        text=TEXT,
        examples=EXAMPLES,
        writes=None,
        asks=False,
    )
    token.add_argument("--id", metavar="GLOB", required=True, type=_glob, help="IDs that it may register")
    token.add_argument(
        "--talk", metavar="GLOB", type=_glob, help="IDs that it may send to (default: all that [[auth.hmac]] allows)"
    )
    token.add_argument("--ttl", metavar="TIME", required=True, type=_ttl, help="lifetime: 90s, 15m, 1h30m, 7d")
    where = token.add_mutually_exclusive_group()
    where.add_argument("--secret-file", metavar="FILE", help="file with the secret of an [[auth.hmac]]")
    where.add_argument(
        "--config",
        metavar="FILE",
        help=f"configuration whose first [[auth.hmac]] names it ({DEFAULT_CONFIG})",
    )


def _glob(written: str) -> str:
    from sigd.config.kinds import check_glob

    try:
        check_glob(written)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return written


def _ttl(written: str) -> int:
    return parse_seconds(written, LONGEST_TTL)


def _token(options: argparse.Namespace) -> int:
    """Run `sigctl token`."""
    from sigd.config import StartError
    from sigd.rules.secret_files import read_secrets

    file = options.secret_file
    # On a command line, a plain name is relative to the current folder.
    path = os.path.abspath(file) if file else _configured(options.config, options.id, options.talk)
    try:
        secret = read_secrets(path)[0]
    except StartError as error:
        raise EndedError(EXIT_FAULT, str(error)) from None
    expiry = int(time.time()) + options.ttl
    user = user_name(expiry, options.id, options.talk)
    token = token_of(secret, user)
    if options.json:
        return put_json({"type": "token", "user": user, "token": token, "expires": expiry})
    status = put_out(PROGRAM, f'{{"user":"{user}","token":"{token}"}}\n')
    if status == 0 and sys.stderr and sys.stderr.isatty():
        say(_explanation(expiry, options.id, options.talk))
    return status


def user_name(expiry: int, glob: str, talk: str | None) -> str:
    """Return the user name of a token: its expiry (Unix time) and its IDs."""
    return f"{expiry}:{glob}" if talk is None else f"{expiry}:{glob}:{talk}"


def token_of(secret: bytes, user: str) -> str:
    """Return the token for a user name, made as for TURN servers but with SHA-256."""
    import base64
    import hmac

    return base64.b64encode(hmac.digest(secret, user.encode(), "sha256")).decode()


def _explanation(expiry: int, glob: str, talk: str | None) -> str:
    until = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(expiry))
    whom = "any peer that its [[auth.hmac]] allows" if talk is None else talk
    return (
        f"Valid until {until}, to register {glob} and to send to {whom}.\n"
        "The client's first message has both members:\n"
        '  {"type":"register","id":"...","user":"...","token":"..."}\n'
        "Anyone who has them can do that: treat them as a password."
    )


def _configured(path: str | None, glob: str, talk: str | None) -> str:
    """Return the secret file of the first [[auth.hmac]] entry that would grant the token's request."""
    from sigd.config import ConfigError, load

    if path is None and not os.path.exists(DEFAULT_CONFIG):
        raise EndedError(
            EXIT_FAULT,
            f"{DEFAULT_CONFIG}: no such file: name the configuration with --config, or the secret with --secret-file",
        )
    path = path or DEFAULT_CONFIG
    try:
        auth = load(path).auth
    except ConfigError as error:
        raise EndedError(EXIT_FAULT, *map(str, error.faults)) from None
    if not auth.hmac:
        raise EndedError(EXIT_FAULT, f"{path}: no [[auth.hmac]] entry, so no token is valid: add one")
    entry = auth.hmac[0]
    if fault := _grant_fault(auth, entry, glob, talk):
        raise EndedError(EXIT_FAULT, f"{path}: {fault}")
    if not entry.secret_file.startswith("/") and "CREDENTIALS_DIRECTORY" not in os.environ:
        what = "is a credential that systemd passes to the daemon alone: name its file with --secret-file"
        raise EndedError(EXIT_FAULT, f'{path}: auth.hmac[0].secret_file: "{entry.secret_file}" {what}')
    return entry.secret_file


def _grant_fault(auth: "Auth", entry: "HmacEntry", glob: str, talk: str | None) -> str:
    """Explain which part the daemon would not grant; empty if it grants all."""
    if not _is_within(glob, entry.register):
        return _beyond("--id", glob, "register", entry.register)
    if talk is not None and not _is_within(talk, entry.talk):
        return _beyond("--talk", talk, "talk", entry.talk)
    if _is_within(glob, auth.deny):
        return f'--id "{glob}" is refused by auth.deny: {", ".join(auth.deny)}'
    return ""


def _beyond(option: str, glob: str, key: str, allowed: Sequence[str]) -> str:
    return f'{option} "{glob}" goes beyond auth.hmac[0].{key}, which allows {", ".join(allowed) or "nobody"}'


def _is_within(glob: str, others: Sequence[str]) -> bool:
    """Return whether one of the globs matches every ID that this one matches."""
    from sigd.relay.globs import glob_matches

    # IDs contain no star, so a glob that matches this one as a text matches its star with one of its own.
    return any(glob_matches(other, glob) for other in others)
