"""Tasks of a conversation: connect, register, renew, reconnect. Knows nothing of transports.

`over_stream` is the connection over a byte stream, `over_datagrams` the one over UDP.
"""

import logging
import ssl
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import anyio

from sigd.client.conversation import Conversation
from sigd.client.dial import HANG_UP_SECONDS, why
from sigd.client.errors import NoCredentials, SignalingError
from sigd.client.suspended import Suspensions
from sigd.client.wallet import Credentials, Wallet

_log: Final = logging.getLogger(__name__)

_TO_BE_MENDED: Final = (ssl.SSLCertVerificationError, NoCredentials)
"""Faults that need human repair: logged once per outage, as the program itself only waits."""


class Connection(Protocol):
    """A connection to a server, with the conversation over it."""

    async def register(self, credentials: Credentials) -> None:
        """Request the ID, and return once it is registered.

        Raises:
            OSError: the server cannot be reached.
            SignalingError: the server refused to register.
        """
        ...

    async def converse(self) -> str:
        """Send and receive until the connection is over; return the reason unless a message gave it."""
        ...

    def shown(self, credentials: Credentials) -> Credentials:
        """Return the part of fresh credentials to send at a renewal."""
        ...

    async def hang_up(self, *, within: float = 0) -> None:
        """Close, after a farewell if it takes at most this long, even while the program is being cancelled."""
        ...


class Reconnector:
    """The tasks of a conversation.

    Attributes:
        conversation: the conversation.
        changed: an event set after each change by the program; a new one takes its place then.
    """

    def __init__(
        self,
        conversation: Conversation,
        dial: "Callable[[Reconnector], Awaitable[Connection]]",
        wallet: Wallet,
        connect_timeout: float,
        url: str,
    ) -> None:
        self.conversation = conversation
        self.changed = anyio.Event()
        self._dial = dial
        self._wallet = wallet
        self._connect_timeout = connect_timeout
        self._url = url
        self._scope = anyio.CancelScope()
        self._suspensions = Suspensions()

    def expire(self, expire: Callable[[float], None]) -> None:
        """Call `expire` with the time, after any suspension has been deducted from credentials."""
        self._suspensions.tell(self.conversation.renewal)
        expire(anyio.current_time())

    def tell(self) -> None:
        """Wake all waiting tasks to look at the conversation again."""
        self.changed.set()
        self.changed = anyio.Event()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds."""
        while not condition():
            await self.changed.wait()

    # -- one connection

    async def establish(self) -> Connection:
        """Connect and register.

        Raises:
            OSError: no connection, or (`TimeoutError`) no answer.
            SignalingError: the server refused to register.
        """
        self.conversation.begin(anyio.current_time())
        with anyio.move_on_after(self._connect_timeout):
            connection = await self._dial(self)
            try:
                # Only once there is a connection: their source may serve thousands of peers.
                await connection.register(await self._wallet.fresh())
            except BaseException:
                await connection.hang_up()
                raise
            return connection
        if self.conversation.fault is not None:
            raise self.conversation.fault
        raise TimeoutError(f"{self._url} did not register this peer within {self._connect_timeout:g} s")

    async def establish_or_wait(self) -> Connection:
        """Connect and register, as often as needed: an unreachable or full server may recover.

        Raises:
            SignalingError: the server refused for a reason that no retry changes.
        """
        try:
            return await self.establish()
        except (OSError, SignalingError) as fault:
            self.conversation.lose(why(fault), anyio.current_time())
            if self.conversation.ended is None:
                _log.warning("%s; trying again", why(fault))
        connection = await self._establish_again()
        if connection is None:
            assert self.conversation.ended is not None
            raise self.conversation.ended
        return connection

    async def _converse(self, connection: Connection) -> str:
        reason = ""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._renew, connection)
                reason = await connection.converse()
                group.cancel_scope.cancel()
        finally:
            await connection.hang_up(within=HANG_UP_SECONDS)
        return reason

    async def _renew(self, connection: Connection) -> None:
        conversation = self.conversation
        while True:
            await self.wait_for(lambda: conversation.renewal.wanted)
            try:
                credentials = await self._wallet.fresh()
            except NoCredentials as fault:
                _log.warning("%s; the old ones are still good", fault.text)
                conversation.renew(None)
            else:
                conversation.renew(connection.shown(credentials))
            self.tell()

    # -- one after another

    async def run(self, connection: Connection) -> None:
        """Converse, and reconnect after each loss, until the conversation has ended."""
        conversation = self.conversation
        current: Connection | None = connection
        try:
            with self._scope:
                while current is not None:
                    reason = await self._converse(current)
                    conversation.lose(reason, anyio.current_time())
                    self.tell()
                    current = await self._establish_again()
        finally:
            if conversation.ended is None:  # stopped, or cancelled with the program
                conversation.leave()
                conversation.lose("", anyio.current_time())
                self.tell()

    def stop(self) -> None:
        """Close the connection for good."""
        self._scope.cancel()

    async def _establish_again(self) -> Connection | None:
        conversation = self.conversation
        told = False
        while conversation.ended is None:
            await anyio.sleep(max(0, conversation.retry_at - anyio.current_time()))
            try:
                connection = await self.establish()
            except (OSError, SignalingError) as fault:
                conversation.lose(why(fault), anyio.current_time())
                if not told and isinstance(fault, _TO_BE_MENDED):
                    told = True
                    _log.warning("%s; it is tried again", why(fault))
            else:
                self.tell()
                return connection
            self.tell()
        return None
