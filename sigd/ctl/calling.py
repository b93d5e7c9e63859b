"""Connections of `sigctl send` and `listen` to a server: identity, credentials and trust.

Uses the blocking client and needs no extra. Secrets are never taken from the command line, where others could read
them.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from sigd.ctl.command_line import EXIT_NO_DAEMON, EXIT_REFUSED, EXIT_TIMED_OUT, EndedError
from sigd.ctl.token import token_of, user_name
from sigd.terminal import EXIT_FAULT

if TYPE_CHECKING:
    import ssl

    from sigd.client.blocking import BlockingPeer
    from sigd.client.wallet import Credentials

TOKEN_SECONDS: Final = 3_600
"""Lifetime in seconds of a token made from a secret: `listen` renews it while it runs, and a leaked one soon
expires.
"""


def add_caller(parser: argparse.ArgumentParser) -> None:
    """Add the options for the server's URL and the caller's identity."""
    parser.add_argument("url", metavar="URL", help="tls://HOST[:PORT], tcp://..., udp://... or unix:/PATH")
    parser.add_argument("--id", metavar="ID", type=peer_id, help="own peer ID (default: sigctl- and random digits)")
    shown = parser.add_argument_group("credentials, in files that others cannot read")
    shown.add_argument("--user", metavar="NAME", help="the user of the token in --token-file")
    which = shown.add_mutually_exclusive_group()
    which.add_argument("--token-file", metavar="FILE", help="a token, or the output of `sigctl token`")
    which.add_argument("--secret-file", metavar="FILE", help="the secret of an [[auth.hmac]], to make tokens from")
    which.add_argument("--jwt-file", metavar="FILE", help="a JWT")
    trusted = parser.add_argument_group("TLS")
    trusted.add_argument("--ca", metavar="FILE", help="trust only this CA instead of the system's")
    trusted.add_argument("--cert", metavar="FILE", help="client certificate (PEM)")
    trusted.add_argument("--key", metavar="FILE", help="its key, if not in the same file")


def peer_id(written: str) -> str:
    """Check a peer ID from the command line."""
    from sigd.wire.ids import is_peer_id

    if not is_peer_id(written):
        raise argparse.ArgumentTypeError(f'"{written}" is not a peer ID: use 1 to 64 characters of A-Z a-z 0-9 _ . ~ -')
    return written


def call(
    options: argparse.Namespace, *, timeout: float, reconnect: bool, meta: Mapping[str, Any] | None = None
) -> "BlockingPeer":
    """Connect and register as the options of `add_caller` say.

    Raises:
        EndedError: the connection or the registration failed.
    """
    from sigd.client.blocking import connect
    from sigd.client.errors import SignalingError

    me = options.id or f"sigctl-{os.urandom(4).hex()}"
    credentials, context = _credentials(options, me), _context(options)
    try:
        return connect(
            options.url,
            id=me,
            meta=meta,
            credentials=credentials,
            ssl_context=context,
            reconnect=reconnect,
            timeout=timeout,
        )
    except (OSError, SignalingError) as fault:
        raise ended(fault) from None
    except ValueError as fault:
        raise EndedError(EXIT_FAULT, str(fault)) from None


def ended(fault: Exception) -> EndedError:
    """Return the error text and exit status for a failed connection, a timeout or a refusal."""
    from sigd.client.errors import Disconnected, SignalingError
    from sigd.client.sockets import why

    match fault:
        case Disconnected():
            return EndedError(EXIT_NO_DAEMON, f"no connection: {fault.text}")
        case SignalingError():
            return EndedError(EXIT_REFUSED, *filter(None, [str(fault), meaning(fault.code)]))
        case TimeoutError():
            return EndedError(EXIT_TIMED_OUT, f"timeout: {why(fault)}")
        case _:
            text = why(fault)
            # The client names an unreachable server itself: "no connection to ...".
            return EndedError(EXIT_NO_DAEMON, text if text.startswith("no ") else f"no connection: {text}")


def meaning(code: str) -> str:
    """Return the meaning of an error code, in a sentence; empty for a code unknown to this version."""
    from sigd.wire.errors import ErrorCode

    return ErrorCode(code).meaning if code in list(ErrorCode) else ""


# -- credentials


def _credentials(options: argparse.Namespace, me: str) -> "Callable[[], Credentials] | None":
    """Return a function that makes the credentials for each `register`; faults in the options show now."""
    from sigd.config import StartError

    if options.user is not None and options.token_file is None:
        raise EndedError(EXIT_FAULT, "--user goes with the token in --token-file")
    file = options.token_file or options.secret_file or options.jwt_file
    if file is None:
        return None
    path = os.path.abspath(file)  # on a command line, a plain name is relative to the current folder

    def make() -> "Credentials":
        if options.secret_file is not None:
            return _made(path, me)
        return {"jwt": _read(path)} if options.jwt_file is not None else _token(path, options.user)

    try:
        make()
    except StartError as fault:
        raise EndedError(EXIT_FAULT, str(fault)) from None
    return make


def _made(path: str, me: str) -> "Credentials":
    from sigd.rules.secret_files import read_secrets

    user = user_name(int(time.time()) + TOKEN_SECONDS, me, None)
    return {"user": user, "token": token_of(read_secrets(path)[0], user)}


def _token(path: str, user: str | None) -> "Credentials":
    import msgspec

    text = _read(path)
    made: dict[str, object] = {"token": text}
    if text.startswith("{"):
        try:
            made = msgspec.json.decode(text, type=dict[str, object])
        except (ValueError, RecursionError):
            raise EndedError(EXIT_FAULT, f"{path}: invalid JSON") from None
    named = {"user": user or made.get("user"), "token": made.get("token")}
    return {name: value for name, value in named.items() if isinstance(value, str)}


def _read(path: str) -> str:
    from sigd.rules.secret_files import read_private

    try:
        return read_private(path).decode().strip()
    except UnicodeDecodeError:
        raise EndedError(EXIT_FAULT, f"{path}: is not text") from None


# -- TLS


def _context(options: argparse.Namespace) -> "ssl.SSLContext | None":
    """Return the TLS context for non-default trust or a client certificate; None for the default."""
    if options.key is not None and options.cert is None:
        raise EndedError(EXIT_FAULT, "--key goes with the certificate in --cert")
    if options.ca is None and options.cert is None:
        return None
    from sigd.client.trust import trusting

    file = options.ca or "the system's certificates"
    try:
        context = trusting(options.ca)
        if options.cert is not None:
            file = options.cert if options.key is None else f"{options.cert} or {options.key}"
            # OpenSSL would ask on the terminal for the password of an encrypted key.
            context.load_cert_chain(options.cert, options.key, password=_no_password)
    except OSError as fault:
        # OpenSSL does not name the file.
        raise EndedError(EXIT_FAULT, f"{file}: {_trouble(fault)}") from None
    except ValueError as fault:
        raise EndedError(EXIT_FAULT, f"{file}: {fault}") from None
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted: store it without a password")


def _trouble(fault: OSError) -> str:
    import ssl

    if isinstance(fault, ssl.SSLError):
        return f"invalid PEM ({fault.reason or 'no reason given'})"
    return fault.strerror or "cannot be read"
