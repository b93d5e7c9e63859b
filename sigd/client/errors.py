"""What a request raises, and what ends a conversation for good."""

from typing import Final

from sigd.wire.said import Error

DISCONNECTED: Final = "disconnected"
"""The `code` of `Disconnected`: the client's own word, no server says it."""


class SignalingError(Exception):
    """Something that was not done, or the end of the conversation, and why.

    Attributes:
        code: as in protocol.md, section 7. A text: a newer server may know more than `sigd.wire.errors.ErrorCode`.
        text: for people.
        to: the recipient that the message at fault named.
        retry_after_ms: milliseconds after which the same has a chance.
        reconnect: False where the server asks this client not to come back by itself.
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
        """What an `error` of the server says."""
        return cls(
            error.code,
            error.message,
            to=error.to,
            retry_after_ms=error.retry_after_ms,
            reconnect=error.reconnect,
        )


class Disconnected(SignalingError):
    """There is no connection to the server, or it was lost.

    Attributes:
        sent: False where nothing was sent. True: the connection was lost before the answer came, and nobody knows
            whether what was asked has been done.
    """

    def __init__(self, text: str, *, sent: bool) -> None:
        super().__init__(DISCONNECTED, text)
        self.sent = sent


class NoCredentials(Disconnected):
    """The function that makes the credentials has failed; what it raised is the cause."""

    def __init__(self, cause: Exception) -> None:
        # Its type alone: its text may quote what was said to whoever makes them.
        super().__init__(f"no credentials: {type(cause).__name__}", sent=False)
