"""Exceptions of requests, and of the end of a conversation."""

from typing import Final

from sigd.wire.said import Error

DISCONNECTED: Final = "disconnected"
"""The `code` of `Disconnected`: of the client only, not of any server."""


class SignalingError(Exception):
    """A refused request, or the end of the conversation.

    Attributes:
        code: as in protocol.md, section 7. A text: a newer server may have more than `sigd.wire.errors.ErrorCode`.
        text: for people.
        to: the recipient named by the refused message.
        retry_after_ms: milliseconds after which a retry may succeed.
        reconnect: False if the server asks this client not to reconnect by itself.
    """

    def __init__(
        self,
        code: str,
        text: str,
        *,
        to: str | None = None,
        retry_after_ms: int | None = None,
        reconnect: bool | None = None,
    ) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text
        self.to = to
        self.retry_after_ms = retry_after_ms
        self.reconnect = reconnect

    def __str__(self) -> str:
        about = f" (to {self.to})" if self.to is not None else ""
        return f"{self.code}{about}: {self.text}"

    @classmethod
    def of(cls, error: Error) -> "SignalingError":
        """Convert an `error` of the server."""
        return cls(
            error.code,
            error.message,
            to=error.to,
            retry_after_ms=error.retry_after_ms,
            reconnect=error.reconnect,
        )


class Disconnected(SignalingError):
    """No connection to the server, or a lost one.

    Attributes:
        sent: False: nothing was sent. True: the connection was lost before the answer came, and the request may have
            been executed.
    """

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(DISCONNECTED, text)
        self.sent = sent


class NoCredentials(Disconnected):
    """A failure of the function that makes credentials; its exception is the cause."""

    def __init__(self, cause: Exception) -> None:
        # Only its type: its text may quote secrets.
        super().__init__(f"no credentials: {type(cause).__name__}", sent=False)
