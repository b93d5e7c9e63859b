"""`sigctl`, for people at a terminal beside the daemon: `sigctl token` makes credentials that expire."""

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import sigd
from sigd.terminal import EXIT_FAULT, EXIT_INTERRUPTED, Parser, complain, put_out, say

if TYPE_CHECKING:
    from sigd.config import Auth, HmacEntry

PROGRAM = "sigctl"
DEFAULT_CONFIG = "/etc/sigd/sigd.toml"
# Ten years: a device in the field may keep its token for life, and who wants more does not want it to expire.
LONGEST_TTL = 3650 * 86_400

_TTL = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", re.ASCII)
_UNIT_SECONDS = (86_400, 3_600, 60, 1)
# More digits than LONGEST_TTL has would only keep `int` busy.
_MOST_CHARACTERS = 32

EPILOG = """\
exit status:
  0  done
  2  the options or the configuration are at fault
  1  anything else
"""

TOKEN_TEXT = """\
Makes a credential for `register`: its user and token members, as one line of
JSON on standard output. It is made of the secret of [[auth.hmac]], which the
daemon knows too: nothing is sent anywhere, and nothing is stored.
"""

TOKEN_EPILOG = """\
examples:
  sigctl token --id cam1 --ttl 30d    for one device
  sigctl token --id 'cam*' --talk 'hub*' --ttl 1h30m
  sigctl token --id bob --ttl 15m --secret-file /etc/sigd/hmac
"""


class _RefusedError(Exception):
    """Why sigctl does not do what it was asked to, in lines for people."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog=PROGRAM,
        description="Helps the people who run sigd, the WebRTC signaling daemon.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # so that no later option changes what an old script means
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {sigd.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    token = commands.add_parser(
        "token",
        help="make a credential that expires",
        description=TOKEN_TEXT,
        epilog=TOKEN_EPILOG + "\n" + EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    _describe_token(token)
    token.set_defaults(run=_token)
    return parser


def _describe_token(token: argparse.ArgumentParser) -> None:
    token.add_argument("--id", metavar="GLOB", required=True, type=_glob, help="IDs that it may register")
    token.add_argument(
        "--talk", metavar="GLOB", type=_glob, help="IDs that it may send to; without it, all that [[auth.hmac]] allows"
    )
    token.add_argument(
        "--ttl", metavar="TIME", required=True, type=_seconds, help="how long it is valid: 90s, 15m, 1h30m, 7d"
    )
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


def _seconds(written: str) -> int:
    """Return how many seconds 90s, 15m, 1h30m or 7d are."""
    match = _TTL.fullmatch(written) if written and len(written) <= _MOST_CHARACTERS else None
    if not match:
        raise argparse.ArgumentTypeError(f'"{written}" is no time: write 90s, 15m, 1h, 7d, or together as in 1h30m')
    seconds = sum(int(count) * unit for count, unit in zip(match.groups("0"), _UNIT_SECONDS, strict=True))
    if not 0 < seconds <= LONGEST_TTL:
        raise argparse.ArgumentTypeError(f'"{written}" is not between 1s and {LONGEST_TTL // 86_400}d')
    return seconds


def main(argv: Sequence[str] | None = None) -> int:
    """Run sigctl with these arguments and return its exit status."""
    options = _parser().parse_args(argv)
    try:
        status: int = options.run(options)
    except _RefusedError as error:
        for line in error.lines:
            complain(PROGRAM, line)
        return EXIT_FAULT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return status


def _token(options: argparse.Namespace) -> int:
    """`sigctl token`."""
    from sigd.config import StartError
    from sigd.secret_files import read_secrets

    file = options.secret_file
    # On a command line a plain name is that of a file right here.
    path = os.path.abspath(file) if file else _configured(options.config, options.id, options.talk)
    try:
        secret = read_secrets(path)[0]
    except StartError as error:
        raise _RefusedError(str(error)) from None
    expiry = int(time.time()) + options.ttl
    user = user_name(expiry, options.id, options.talk)
    status = put_out(PROGRAM, f'{{"user":"{user}","token":"{token_of(secret, user)}"}}\n')
    if status == 0 and sys.stderr and sys.stderr.isatty():
        say(_explanation(expiry, options.id, options.talk))
    return status


def user_name(expiry: int, glob: str, talk: str | None) -> str:
    """Return what a token is made for: until when it is valid (Unix time), and for which IDs."""
    return f"{expiry}:{glob}" if talk is None else f"{expiry}:{glob}:{talk}"


def token_of(secret: bytes, user: str) -> str:
    """Return the token for a user name, as TURN servers make them, but with SHA-256."""
    import base64
    import hmac

    return base64.b64encode(hmac.digest(secret, user.encode(), "sha256")).decode()


def _explanation(expiry: int, glob: str, talk: str | None) -> str:
    until = time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(expiry))
    whom = "whomever its [[auth.hmac]] allows" if talk is None else talk
    return (
        f"Valid until {until}, to register {glob} and to send to {whom}.\n"
        "The client's first message has both members:\n"
        '  {"type":"register","id":"...","user":"...","token":"..."}\n'
        "Whoever has them may do that: treat them as a password."
    )


def _configured(path: str | None, glob: str, talk: str | None) -> str:
    """Return the file of the first [[auth.hmac]], if the daemon would grant what its token is asked to."""
    from sigd.config import ConfigError, load

    if path is None and not os.path.exists(DEFAULT_CONFIG):
        raise _RefusedError(f"{DEFAULT_CONFIG}: no such file: name another by --config, or the secret by --secret-file")
    path = path or DEFAULT_CONFIG
    try:
        auth = load(path).auth
    except ConfigError as error:
        raise _RefusedError(*map(str, error.faults)) from None
    if not auth.hmac:
        raise _RefusedError(f"{path}: no [[auth.hmac]] in it, so that no token would count: add one")
    entry = auth.hmac[0]
    if fault := _grant_fault(auth, entry, glob, talk):
        raise _RefusedError(f"{path}: {fault}")
    if not entry.secret_file.startswith("/") and "CREDENTIALS_DIRECTORY" not in os.environ:
        what = "is a credential that systemd gives to the daemon alone: name its file by --secret-file"
        raise _RefusedError(f'{path}: auth.hmac[0].secret_file: "{entry.secret_file}" {what}')
    return entry.secret_file


def _grant_fault(auth: "Auth", entry: "HmacEntry", glob: str, talk: str | None) -> str:
    """Say what the daemon would not grant, nothing if it grants all."""
    if not _is_within(glob, entry.register):
        return _beyond("--id", glob, "register", entry.register)
    if talk is not None and not _is_within(talk, entry.talk):
        return _beyond("--talk", talk, "talk", entry.talk)
    if _is_within(glob, auth.deny):
        return f'--id "{glob}" is among those that auth.deny refuses: {", ".join(auth.deny)}'
    return ""


def _beyond(option: str, glob: str, key: str, allowed: Sequence[str]) -> str:
    return f'{option} "{glob}" goes beyond auth.hmac[0].{key}, which allows {", ".join(allowed) or "nobody"}'


def _is_within(glob: str, others: Sequence[str]) -> bool:
    """Tell whether one of the globs matches whatever this one does."""
    from sigd.relay.globs import glob_matches

    # No ID holds a star: so what matches the glob as a text matches its star by one of its own.
    return any(glob_matches(other, glob) for other in others)


if __name__ == "__main__":
    sys.exit(main())
