"""How `sigctl send` and `listen` reach a server: as whom, with which credentials, and whom they trust.

Needs no extra: it is the client's blocking face. No secret is taken from the command line, where others could read it.
"""

import argparse
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from sigd.ctl.commands import EXIT_NO_DAEMON, EXIT_REFUSED, EXIT_TIMED_OUT, EndedError
from sigd.ctl.token import token_of, user_name
from sigd.terminal import EXIT_FAULT

if TYPE_CHECKING:
    import ssl

    from sigd.client.blocking import BlockingPeer
    from sigd.client.credentials import Credentials

TOKEN_SECONDS: Final = 3_600
"""How long a token is valid that is made of a secret: it is renewed while `listen` runs, and useless when it leaks."""


def add_caller(parser: argparse.ArgumentParser) -> None:
    """Have a command take where the server is, and who calls."""
    parser.add_argument("url", metavar="URL", help="tls://HOST[:PORT], tcp://..., udp://... or unix:/PATH")
    parser.add_argument("--id", metavar="ID", type=peer_id, help="the peer to be (sigctl-... and digits at random)")
    shown = parser.add_argument_group("credentials, in files that others cannot read")
    shown.add_argument("--user", metavar="NAME", help="the user that belongs to the token in --token-file")
    which = shown.add_mutually_exclusive_group()
    which.add_argument("--token-file", metavar="FILE", help="a token, or what `sigctl token` has printed")
    which.add_argument("--secret-file", metavar="FILE", help="the secret of an [[auth.hmac]]: a token is made of it")
    which.add_argument("--jwt-file", metavar="FILE", help="a JWT")
    trusted = parser.add_argument_group("TLS")
    trusted.add_argument("--ca", metavar="FILE", help="trust the servers of this CA alone, not those of the system's")
    trusted.add_argument("--cert", metavar="FILE", help="a certificate to show")
    trusted.add_argument("--key", metavar="FILE", help="its key, if that is not in the same file")


def peer_id(written: str) -> str:
    """A peer ID from the command line."""
    from sigd.wire.messages import is_peer_id

    if not is_peer_id(written):
        raise argparse.ArgumentTypeError(f'"{written}" is no peer ID: 1 to 64 of A-Z a-z 0-9 _ . ~ -')
    return written


def call(
    options: argparse.Namespace, *, timeout: float, reconnect: bool, meta: Mapping[str, Any] | None = None
) -> "BlockingPeer":
    """Connect and register, as the options of `add_caller` say.

    Raises:
        EndedError: it was not possible, and why.
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
    """What is said, and the exit status, where there is no connection, no answer, or a refusal."""
    from sigd.client.errors import Disconnected, SignalingError
    from sigd.client.sockets import why

    match fault:
        case Disconnected():
            return EndedError(EXIT_NO_DAEMON, f"no connection: {fault.text}")
        case SignalingError():
            return EndedError(EXIT_REFUSED, *filter(None, [str(fault), meaning(fault.code)]))
        case TimeoutError():
            return EndedError(EXIT_TIMED_OUT, f"it took too long: {why(fault)}")
        case _:
            text = why(fault)
            # The client names the server itself where it could not reach any: "no connection to ...".
            return EndedError(EXIT_NO_DAEMON, text if text.startswith("no ") else f"no connection: {text}")


def meaning(code: str) -> str:
    """What an error code means, in a sentence; empty for one that this version does not know."""
    from sigd.wire.errors import ErrorCode

    return ErrorCode(code).meaning if code in list(ErrorCode) else ""


# -- credentials


def _credentials(options: argparse.Namespace, me: str) -> "Callable[[], Credentials] | None":
    """What makes the credentials for each `register`; its faults are found now."""
    from sigd.config import StartError

    if options.user is not None and options.token_file is None:
        raise EndedError(EXIT_FAULT, "--user goes with the token in --token-file")
    file = options.token_file or options.secret_file or options.jwt_file
    if file is None:
        return None
    path = os.path.abspath(file)  # on a command line a plain name is that of a file right here

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
            raise EndedError(EXIT_FAULT, f"{path}: begins as JSON, and is none") from None
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
    """Whom to trust and what to show, where that is not the usual."""
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
            # An encrypted key would have its password asked for on the terminal.
            context.load_cert_chain(options.cert, options.key, password=_no_password)
    except OSError as fault:
        # OpenSSL names no file.
        raise EndedError(EXIT_FAULT, f"{file}: {_trouble(fault)}") from None
    except ValueError as fault:
        raise EndedError(EXIT_FAULT, f"{file}: {fault}") from None
    return context


def _no_password() -> str:
    raise ValueError("the key is encrypted: write it without a password")


def _trouble(fault: OSError) -> str:
    import ssl

    if isinstance(fault, ssl.SSLError):
        return f"not PEM as it should be ({fault.reason or 'no reason given'})"
    return fault.strerror or "cannot be read"
