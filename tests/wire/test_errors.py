"""The error codes, as section 3 of the wire decisions has them."""

import pytest

from sigd.wire.errors import ErrorCode, Next, ProtocolError

GOES_ON = [
    "bad-message",
    "unknown-type",
    "not-registered",
    "already-registered",
    "id-taken",
    "peer-unavailable",
    "peer-busy",
    "too-large",
    "rate-limited",
    "forbidden",
]
CLOSES = [
    "bad-frame",
    "auth-failed",
    "auth-expired",
    "register-timeout",
    "replaced",
    "kicked",
    "slow-consumer",
    "server-full",
    "idle-timeout",
    "internal",
]
NEVER = ["auth-failed", "replaced", "kicked"]
"""After these a client does not come back by itself."""


def test_these_and_no_others() -> None:
    assert sorted(GOES_ON + CLOSES) == sorted(code.value for code in ErrorCode)


@pytest.mark.parametrize("spelling", GOES_ON)
def test_goes_on(spelling: str) -> None:
    code = ErrorCode(spelling)
    assert not code.closes
    assert code.next in {Next.MEND, Next.BACK_OFF}


@pytest.mark.parametrize("spelling", CLOSES)
def test_closes(spelling: str) -> None:
    code = ErrorCode(spelling)
    assert code.closes
    assert code.next is (Next.NEVER if spelling in NEVER else Next.BACK_OFF)


@pytest.mark.parametrize("code", ErrorCode)
def test_spelling_and_meaning(code: ErrorCode) -> None:
    assert code.value == code.name.lower().replace("_", "-")
    assert code.meaning.endswith(".")
    assert code.meaning.isascii()


def test_fault_carries_what_the_answer_needs() -> None:
    bare = ProtocolError(ErrorCode.BAD_FRAME, "why")
    assert (bare.code, bare.text, bare.ref, bare.to, bare.retry_after_ms) == (ErrorCode.BAD_FRAME, "why", *[None] * 3)
    full = ProtocolError(ErrorCode.RATE_LIMITED, "why", ref="r", to="bob", retry_after_ms=5)
    assert (full.ref, full.to, full.retry_after_ms) == ("r", "bob", 5)
