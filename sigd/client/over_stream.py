"""A connection over a byte stream: TCP, TLS or a Unix socket."""

import ssl
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio
from anyio.abc import ByteStream

from sigd.client.dial import LOST, dial, hang_up, why
from sigd.client.errors import Disconnected

if TYPE_CHECKING:
    from sigd.client.address import Tcp, Unix
    from sigd.client.reconnector import Reconnector
    from sigd.client.wallet import Credentials

RECEIVE_BYTES: Final = 65_536
"""Maximum bytes of one read: a whole frame of the default size."""


async def connect_stream(
    where: "Tcp | Unix", context: ssl.SSLContext | None, reconnector: "Reconnector"
) -> "StreamConnection":
    """Connect; `context` is that of `context_for`.

    Raises:
        OSError: no connection.
    """
    return StreamConnection(reconnector, await dial(where, context))


class StreamConnection:
    """A connection over a stream; see `Connection` for the interface."""

    def __init__(self, reconnector: "Reconnector", stream: ByteStream) -> None:
        self._reconnector = reconnector
        self._conversation = reconnector.conversation
        self._stream = stream

    async def register(self, credentials: "Credentials") -> None:
        """Request the ID, and return once it is registered."""
        conversation = self._conversation
        conversation.register(credentials)
        # If the server refused at once, writing fails, but its answer is still readable.
        with suppress(*LOST):
            await self._stream.send(conversation.take_due())
        while not (conversation.registered or conversation.over):
            try:
                chunk = await self._stream.receive(RECEIVE_BYTES)
            except LOST as fault:
                raise conversation.fault or Disconnected(why(fault), sent=True) from None
            conversation.receive(chunk, anyio.current_time())
        if not conversation.registered:
            raise conversation.fault or AssertionError("over, and nothing says why")

    async def converse(self) -> str:
        """Read and write until the connection is over; return the reason unless a message gave it."""
        reason = ""
        async with anyio.create_task_group() as group:
            group.start_soon(self._write)
            reason = await self._read()
            group.cancel_scope.cancel()
        return reason

    def shown(self, credentials: "Credentials") -> "Credentials":
        """Return the fresh credentials: all are sent."""
        return credentials

    async def hang_up(self, *, within: float = 0) -> None:
        """Close the stream."""
        await hang_up(self._stream, within=within)

    async def _read(self) -> str:
        conversation = self._conversation
        while not conversation.over:
            if not conversation.wants_more:
                await self._reconnector.wait_for(lambda: conversation.wants_more)
                conversation.silence.restart(anyio.current_time())  # the silence was our own
            chunk = b""
            with anyio.move_on_after(conversation.deadline - anyio.current_time()):
                try:
                    chunk = await self._stream.receive(RECEIVE_BYTES)
                except LOST as fault:
                    return why(fault)
            if chunk:
                conversation.receive(chunk, anyio.current_time())
            else:
                self._reconnector.expire(conversation.expire)
            self._reconnector.tell()
        return ""

    async def _write(self) -> None:
        conversation = self._conversation
        # The reader notices the lost connection itself, after all remaining input.
        with suppress(*LOST):
            while True:
                await self._reconnector.wait_for(lambda: conversation.has_due)
                await self._stream.send(conversation.take_due())
                self._reconnector.tell()
