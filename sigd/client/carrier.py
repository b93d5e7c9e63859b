"""Carries a conversation over sockets: connects, reads, writes, connects again. What is said is not its concern."""

import logging
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import anyio
from anyio.abc import ByteStream

from sigd.client.conversation import Conversation
from sigd.client.credentials import Wallet
from sigd.client.dial import HANG_UP_SECONDS, LOST, hang_up, why
from sigd.client.errors import Disconnected, NoCredentials, SignalingError

RECEIVE_BYTES: Final = 65_536
"""What one read takes: a frame of the default size in one go."""

_log: Final = logging.getLogger(__name__)

_TO_BE_MENDED: Final = (ssl.SSLCertVerificationError, NoCredentials)
"""What somebody has to mend: told once per outage, to programs that would only wait."""


class Carrier:
    """The tasks around a conversation.

    Attributes:
        conversation: what is said.
    """

    def __init__(
        self,
        conversation: Conversation,
        dial: Callable[[], Awaitable[ByteStream]],
        wallet: Wallet,
        connect_timeout: float,
    ) -> None:
        self.conversation = conversation
        self._dial = dial
        self._wallet = wallet
        self._connect_timeout = connect_timeout
        self._changed = anyio.Event()
        self._scope = anyio.CancelScope()

    def tell(self) -> None:
        """Have everybody who waits look at the conversation again."""
        self._changed.set()
        self._changed = anyio.Event()

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Wait until something is the case."""
        while not condition():
            await self._changed.wait()

    # -- one connection

    async def establish(self) -> ByteStream:
        """Connect and register.

        Raises:
            OSError: there is no connection, or (`TimeoutError`) no answer.
            SignalingError: the server did not register this peer.
        """
        self.conversation.begin(anyio.current_time())
        with anyio.move_on_after(self._connect_timeout):
            stream = await self._dial()
            try:
                # Not before there is somebody to show them to: who makes them may have to do with thousands of peers.
                self.conversation.register(await self._wallet.fresh())
                await self._register(stream)
            except BaseException:
                await hang_up(stream)
                raise
            return stream
        raise TimeoutError(f"the server did not register this peer within {self._connect_timeout:g} s")

    async def _register(self, stream: ByteStream) -> None:
        conversation = self.conversation
        # Where a server refused the connection at once, writing fails, and what it said is still there to be read.
        with suppress(*LOST):
            await stream.send(conversation.take_due())
        while not (conversation.registered or conversation.over):
            try:
                chunk = await stream.receive(RECEIVE_BYTES)
            except LOST as fault:
                raise conversation.fault or Disconnected(why(fault), sent=True) from None
            conversation.receive(chunk, anyio.current_time())
        if not conversation.registered:
            raise conversation.fault or AssertionError("over, and nothing says why")

    async def _converse(self, stream: ByteStream) -> str:
        """Read and write until the connection is over; a few words why, where nothing that was said tells."""
        reason = ""
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._write, stream)
                group.start_soon(self._renew)
                reason = await self._read(stream)
                group.cancel_scope.cancel()
        finally:
            await hang_up(stream, within=HANG_UP_SECONDS)
        return reason

    async def _read(self, stream: ByteStream) -> str:
        conversation = self.conversation
        while not conversation.over:
            if not conversation.wants_more:
                await self.wait_for(lambda: conversation.wants_more)
                conversation.resume(anyio.current_time())
            chunk = b""
            with anyio.move_on_after(conversation.deadline - anyio.current_time()):
                try:
                    chunk = await stream.receive(RECEIVE_BYTES)
                except LOST as fault:
                    return why(fault)
            if chunk:
                conversation.receive(chunk, anyio.current_time())
            else:
                conversation.expire(anyio.current_time())
            self.tell()
        return ""

    async def _write(self, stream: ByteStream) -> None:
        conversation = self.conversation
        # The reader finds out by itself that the connection is gone, after all that was still to be read.
        with suppress(*LOST):
            while True:
                await self.wait_for(lambda: conversation.has_due)
                await stream.send(conversation.take_due())
                self.tell()

    async def _renew(self) -> None:
        conversation = self.conversation
        while True:
            await self.wait_for(lambda: conversation.renewal.wanted)
            try:
                credentials = await self._wallet.fresh()
            except NoCredentials as fault:
                _log.warning("%s; the old ones are still good", fault.text)
                conversation.renew(None)
            else:
                conversation.renew(credentials)
            self.tell()

    # -- one after another

    async def run(self, stream: ByteStream) -> None:
        """Converse, and connect again whenever the connection is lost, until the conversation has ended."""
        conversation = self.conversation
        current: ByteStream | None = stream
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

    async def _establish_again(self) -> ByteStream | None:
        conversation = self.conversation
        told = False
        while conversation.ended is None:
            await anyio.sleep(max(0, conversation.retry_at - anyio.current_time()))
            try:
                stream = await self.establish()
            except (OSError, SignalingError) as fault:
                conversation.lose(why(fault), anyio.current_time())
                if not told and isinstance(fault, _TO_BE_MENDED):
                    told = True
                    _log.warning("%s; it is tried again", why(fault))
            else:
                self.tell()
                return stream
            self.tell()
        return None
