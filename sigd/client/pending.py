"""A request that waits for the server's answer. No I/O."""

from collections.abc import Callable
from typing import Generic, TypeVar

from sigd.client.errors import SignalingError
from sigd.wire.said import Said

Answer = TypeVar("Answer", bound=Said)


class Pending(Generic[Answer]):
    """A request that waits for its answer or, once `settled` was called, has it."""

    __slots__ = ("_answer", "_expected", "_settled", "ref")

    def __init__(self, ref: str, expected: type[Answer], settled: Callable[[], None]) -> None:
        self.ref = ref
        self._expected = expected
        self._settled = settled
        self._answer: Answer | SignalingError | None = None

    def answer(self, message: Said) -> bool:
        """Settle it with a message of the server, if that answers such a request."""
        if not isinstance(message, self._expected):
            return False
        self._answer = message
        self._settled()
        return True

    def fail(self, fault: SignalingError) -> None:
        """Settle it with an exception."""
        self._answer = fault
        self._settled()

    @property
    def settled(self) -> bool:
        """Whether there is an answer."""
        return self._answer is not None

    def result(self) -> Answer:
        """Return the answer.

        Raises:
            SignalingError: the server's refusal, or `Disconnected`.
        """
        if self._answer is None or isinstance(self._answer, SignalingError):
            raise self._answer or AssertionError("not settled yet")
        return self._answer
