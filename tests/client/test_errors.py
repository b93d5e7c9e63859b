"""Exceptions of the client: their members and texts."""

from sigd.client.errors import Disconnected, NoCredentials, SignalingError
from sigd.wire.said import Error


def test_an_error_of_the_server_keeps_all_its_members() -> None:
    fault = SignalingError.of(
        Error(code="rate-limited", message="slower", to="bob", retry_after_ms=500, reconnect=False)
    )
    assert (fault.code, fault.text, fault.to) == ("rate-limited", "slower", "bob")
    assert (fault.retry_after_ms, fault.reconnect) == (500, False)
    assert str(fault) == "rate-limited (to bob): slower"
    assert str(SignalingError("server-full", "no room")) == "server-full: no room"


def test_a_lost_connection_says_whether_the_request_was_sent() -> None:
    assert [Disconnected("lost", sent=sent).sent for sent in (False, True)] == [False, True]
    assert str(Disconnected("lost", sent=True)) == "disconnected: lost"


def test_a_failure_of_credentials_quotes_none() -> None:
    fault = NoCredentials(ValueError("a secret"))
    assert str(fault) == "disconnected: no credentials: ValueError"
    assert not fault.sent
