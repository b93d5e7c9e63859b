"""Keeps a conversation going: connects, registers, renews, connects again. How bytes travel is its connection's affair.

Over a byte stream that is `over_stream`, in datagrams `over_datagrams`.
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
"""What somebody has to mend: told once per outage, to programs that would only wait."""


class Connection(Protocol):
    """One connection to a server, and the conversation over it."""

    async def register(self, credentials: Credentials) -> None:
        """Ask for the ID, and return once it is ours.

        Raises:
            OSError: the server cannot be reached.
            SignalingError: it did not register this peer.
        """
        ...

    async def converse(self) -> str:
        """Say and hear until the connection is over; a few words why, where nothing that was said tells."""
        ...

    def shown(self, credentials: Credentials) -> Credentials:
        """What of fresh credentials is said when they are renewed."""
        ...

    async def hang_up(self, *, within: float = 0) -> None:
        """Close, with a goodbye where so many seconds suffice for it, even in a program that is being cancelled."""
        ...


class Reconnector:
    """The tasks around a conversation.

    Attributes:
        conversation: what is said.
        changed: is set when somebody has done something to the conversation; another one is here after that.
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
        """Call `expire` with the time, after credentials have been told of any suspension."""
        self._suspensions.tell(self.conversation.renewal)
        expire(anyio.current_time())

    def tell(self) -> None:
        """Have everybody who waits look at the conversation again."""
        self.changed.set()
        self.changed = anyio.Event()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is the case."""
        while not condition():
            await self.changed.wait()

    # -- one connection

    async def establish(self) -> Connection:
        """Connect and register.

        Raises:
            OSError: there is no connection, or (`TimeoutError`) no answer.
            SignalingError: the server did not register this peer.
        """
        self.conversation.begin(anyio.current_time())
        with anyio.move_on_after(self._connect_timeout):
            connection = await self._dial(self)
            try:
                # Not before there is somebody to show them to: who makes them may have to do with thousands of peers.
                await connection.register(await self._wallet.fresh())
            except BaseException:
                await connection.hang_up()
                raise
            return connection
        if self.conversation.fault is not None:
            raise self.conversation.fault
        raise TimeoutError(f"{self._url} did not register this peer within {self._connect_timeout:g} s")

    async def establish_or_wait(self) -> Connection:
        """Connect and register, as often as it takes: a server that is away, or has no room, may be there later.

        Raises:
            SignalingError: the server rejected this peer for a reason that no further try mends.
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
        """Converse, and connect again whenever the connection is lost, until the conversation has ended."""
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
        """Close the connection, and make no other."""
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
