"""Connections on plain sockets, for `blocking`: each does all that is possible, and yields the next wait.

Nothing here blocks: functions that would are generators of `Wait`s, resumed when one is over. Resuming early does no
harm. Only name lookup blocks, with the system's own timeouts.
"""

import errno
import math
import os
import random
import socket
import ssl
from collections.abc import Callable, Generator
from contextlib import suppress
from selectors import EVENT_READ, EVENT_WRITE
from time import monotonic
from typing import Any, Final, NamedTuple, Protocol, TypeVar

from sigd.client.address import Address, Udp, Unix
from sigd.client.conversation import Conversation
from sigd.client.datagram_conversation import DatagramLink
from sigd.client.errors import Disconnected
from sigd.client.hello import Greeting
from sigd.client.trust import unreachable, why_refused
from sigd.client.wallet import Credentials
from sigd.wire import macs

RECEIVE_BYTES: Final = 65_536
"""Maximum bytes of one read: a whole frame of the default size, and every datagram."""

MOST_DATAGRAMS: Final = 64
"""Maximum number of datagrams read before any is answered: a flooded socket still meets a link's deadlines."""

PATIENCE_SECONDS: Final = 2.5
"""Timeout for a UDP address to answer, if the name has others: two datagrams may be lost."""

TOO_LATE: Final = "the server did not answer in time"

_UNDER_WAY: Final = frozenset({errno.EINPROGRESS, errno.EALREADY})


class Wait(NamedTuple):
    """A wait for these events of a socket (0: for none), or until `at` on the monotonic clock."""

    socket: socket.socket | None
    events: int
    at: float


Result = TypeVar("Result")

Turns = Generator[Wait, None, Result]
"""A process that takes a while."""


class _Place(NamedTuple):
    family: int
    address: Any
    """An address in the form of `socket`, of this family."""


class Connection(Protocol):
    """A connection to a server, with the conversation over it."""

    def register(self, credentials: Credentials, until: float) -> Turns[None]:
        """Request the ID, and return once it is registered.

        Raises:
            OSError: the server cannot be reached; its subclass `TimeoutError`: it did not answer in time.
            SignalingError: the server refused to register.
        """
        ...

    def converse(self) -> Turns[str]:
        """Send and receive until the connection is over; return the reason unless a message gave it."""
        ...

    def shown(self, credentials: Credentials) -> Credentials:
        """Return the part of fresh credentials to send at a renewal."""
        ...

    def hang_up(self) -> None:
        """Close, after a farewell without an answer."""
        ...


def connect_socket(
    where: Address, context: ssl.SSLContext | None, conversation: Conversation, jitter: random.Random, until: float
) -> Turns[Connection]:
    """Connect; `context` is that of `context_for`. Over UDP, the server's absence shows only later.

    Raises:
        OSError: no connection; its subclass `ssl.SSLCertVerificationError`: the server is not the expected one.
    """
    try:
        return (yield from _connect(where, context, conversation, jitter, until))
    except OSError as fault:
        raise unreachable(where, fault) from None


def _connect(
    where: Address, context: ssl.SSLContext | None, conversation: Conversation, jitter: random.Random, until: float
) -> Turns[Connection]:
    if isinstance(where, Unix):
        return StreamConnection(conversation, (yield from _dial(_Place(socket.AF_UNIX, where.path), until)))
    kind = socket.SOCK_DGRAM if isinstance(where, Udp) else socket.SOCK_STREAM
    known = socket.getaddrinfo(where.host, where.port, type=kind)
    found = dict.fromkeys((_Place(family, address)) for family, *_, address in known)
    if isinstance(where, Udp):
        return DatagramConnection(conversation, [*found], jitter)
    sock = yield from _dial_any([*found], until)
    if context is not None:
        sock = yield from _secure(sock, context, where.name, until)
    return StreamConnection(conversation, sock)


# -- over a byte stream


def _dial_any(places: list[_Place], until: float) -> Turns[socket.socket]:
    """Connect to the first address that accepts, with a share of the time for each."""
    for number, place in enumerate(places):
        left = len(places) - number
        try:
            return (yield from _dial(place, monotonic() + (until - monotonic()) / left))
        except OSError:
            if left == 1:
                raise
    raise AssertionError("a name that was found has an address")


def _dial(place: _Place, until: float) -> Turns[socket.socket]:
    sock = socket.socket(place.family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        while (code := sock.connect_ex(place.address)) in _UNDER_WAY:
            yield _within(until, sock, EVENT_WRITE)
        if code not in {0, errno.EISCONN}:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


def _secure(plain: socket.socket, context: ssl.SSLContext, name: str, until: float) -> Turns[socket.socket]:
    with plain:  # nothing to close once TLS has taken it over
        sock = context.wrap_socket(
            plain, server_hostname=name, do_handshake_on_connect=False, suppress_ragged_eofs=False
        )
    try:
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                yield _within(until, sock, EVENT_READ)
            except ssl.SSLWantWriteError:
                yield _within(until, sock, EVENT_WRITE)
            else:
                return sock
    except (ssl.SSLEOFError, ConnectionError):
        sock.close()
        raise ConnectionError("the server closed the connection instead of a TLS handshake") from None
    except BaseException:
        sock.close()
        raise


def _within(until: float, sock: socket.socket, events: int) -> Wait:
    """Return a wait for a socket; raise if the time is up."""
    if monotonic() >= until:
        raise TimeoutError(TOO_LATE)
    return Wait(sock, events, until)


class StreamConnection:
    """A connection over TCP, TLS or a Unix socket; see `Connection` for the interface."""

    def __init__(self, conversation: Conversation, sock: socket.socket) -> None:
        self._conversation = conversation
        self._socket = sock
        self._unsent = b""

    def register(self, credentials: Credentials, until: float) -> Turns[None]:
        """Request the ID, and return once it is registered."""
        conversation = self._conversation
        conversation.register(credentials)
        while not (conversation.registered or conversation.over):
            try:
                wait = self._turn(until)
            except (OSError, EOFError) as fault:
                raise conversation.fault or Disconnected(why(fault), sent=True) from None
            if monotonic() >= until:
                raise conversation.fault or TimeoutError(TOO_LATE)
            yield wait
        if not conversation.registered:
            raise conversation.fault or AssertionError("over, and nothing says why")

    def converse(self) -> Turns[str]:
        """Read and write until the connection is over; return the reason unless a message gave it."""
        conversation = self._conversation
        while not conversation.over:
            if not conversation.wants_more:
                yield Wait(self._socket, self._write(), math.inf)
                conversation.silence.restart(monotonic())  # the silence was our own
                continue
            try:
                wait = self._turn(conversation.deadline)
            except (OSError, EOFError) as fault:
                return why(fault)
            if wait.events and monotonic() >= conversation.deadline:
                conversation.expire(monotonic())
            else:
                yield wait
        return ""

    def shown(self, credentials: Credentials) -> Credentials:
        """Return the fresh credentials: all are sent."""
        return credentials

    def hang_up(self) -> None:
        """Close the socket."""
        if isinstance(self._socket, ssl.SSLSocket):
            with suppress(OSError, ValueError):
                self._socket.unwrap()  # sends the farewell without waiting for the server's
        self._socket.close()

    def _turn(self, until: float) -> Wait:
        """Read and write; return the next wait without new input, else no wait: there may be more."""
        events = self._write()
        awaited = self._read()
        return Wait(self._socket, events | awaited, until) if awaited else Wait(None, 0, -math.inf)

    def _write(self) -> int:
        """Write the output; return the event to wait for if some is left."""
        conversation = self._conversation
        while self._unsent or conversation.has_due:
            self._unsent = self._unsent or conversation.take_due()
            try:
                self._unsent = self._unsent[self._socket.send(self._unsent) :]
            except (BlockingIOError, ssl.SSLWantWriteError):
                return EVENT_WRITE
            except ssl.SSLWantReadError:
                return EVENT_READ
            except OSError:
                # Reading reports the lost connection, after all remaining input.
                self._unsent = b""
        return 0

    def _read(self) -> int:
        """Process input; return the event to wait for if there is none."""
        try:
            chunk = self._socket.recv(RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError):
            return EVENT_READ
        except ssl.SSLWantWriteError:
            return EVENT_WRITE
        if not chunk:
            raise EOFError
        self._conversation.receive(chunk, monotonic())
        return 0


# -- over datagrams


class DatagramConnection:
    """A connection over UDP; see `Connection` for the interface."""

    def __init__(self, conversation: Conversation, places: list[_Place], jitter: random.Random) -> None:
        self._conversation = conversation
        self._places = places
        self._jitter = jitter
        self._socket: socket.socket | None = None
        self._link: DatagramLink | None = None

    def register(self, credentials: Credentials, until: float) -> Turns[None]:
        """Request the ID at each of the server's addresses until one answers; return once it is registered."""
        conversation = self._conversation
        shown = {name: text for name, text in credentials.items() if name != "token" or "user" not in credentials}
        conversation.register(shown)
        register = conversation.next_due()
        token = credentials["token"].encode() if len(shown) < len(credentials) else None
        for place in self._places:
            greeting = Greeting(conversation.id, register, token, self._jitter, monotonic())
            patience = until if place == self._places[-1] else min(until, monotonic() + PATIENCE_SECONDS)
            try:
                yield from self._greet(greeting, place, patience, until)
            except OSError:
                if place == self._places[-1]:
                    raise
            if greeting.over:
                break
        if not conversation.registered:
            raise conversation.fault or TimeoutError(TOO_LATE)

    def _greet(self, greeting: Greeting, place: _Place, patience: float, until: float) -> Turns[None]:
        self.hang_up()
        self._socket = socket.socket(place.family, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.connect(place.address)
        yield from self._exchange(greeting, lambda: greeting.challenged, patience)
        if greeting.challenged:
            yield from self._exchange(greeting, lambda: False, until)
        greeting.give_up()
        if greeting.over:
            self._conversation.receive_message(greeting.answer, monotonic())
        if greeting.channel is not None:
            self._link = DatagramLink(self._conversation, greeting.channel, monotonic())

    def converse(self) -> Turns[str]:
        """Send and receive until the link is over; return the reason unless a message gave it."""
        if self._link is None:
            raise AssertionError("conversing without being registered")
        yield from self._exchange(self._link, lambda: False, math.inf)
        return self._link.reason

    def shown(self, credentials: Credentials) -> Credentials:
        """Return the part of fresh credentials to send: a proof in place of a token that goes with a `user`."""
        if "user" not in credentials or self._link is None:
            return credentials
        proof = macs.renewal_proof(credentials["token"].encode(), self._link.cid, credentials["user"])
        return {"user": credentials["user"], "proof": proof.decode()}

    def hang_up(self) -> None:
        """Leave the link, if there is one, and close the socket."""
        sock, self._socket = self._socket, None
        if sock is not None:
            if self._link is not None:
                _send(sock, self._link.leave(monotonic()))
            sock.close()

    def _exchange(self, party: Greeting | DatagramLink, done: Callable[[], bool], until: float) -> Turns[None]:
        """Send and receive for a party until the condition holds, the party is over, or the time is up."""
        sock = self._socket
        if sock is None:
            raise AssertionError("no socket")
        while True:
            for datagram in _received(sock):
                party.receive_untrusted(datagram, monotonic())
            now = monotonic()
            if now >= party.deadline:
                party.expire(now)
            _send(sock, party.datagrams_to_send(now))
            if party.over or done() or now >= until:
                return
            yield Wait(sock, EVENT_READ, min(until, party.deadline))


def _received(sock: socket.socket) -> list[bytes]:
    """Return the received datagrams."""
    datagrams: list[bytes] = []
    for _ in range(MOST_DATAGRAMS):
        try:
            datagrams.append(sock.recv(RECEIVE_BYTES))
        except BlockingIOError:
            break
        except OSError:
            continue  # an ICMP error about one of our datagrams: it counts as lost
    return datagrams


def _send(sock: socket.socket, datagrams: list[bytes]) -> None:
    """Send datagrams; each may be lost, locally as well as on the way."""
    for datagram in datagrams:
        with suppress(OSError):
            sock.send(datagram)


def why(fault: BaseException) -> str:
    """Describe in a few words why a connection was lost or not made."""
    match fault:
        case EOFError():
            return "the server closed the connection"
        case ConnectionResetError() | BrokenPipeError() | ssl.SSLEOFError():
            return "the connection was lost"
        case _:
            return why_refused(fault) or str(fault)
