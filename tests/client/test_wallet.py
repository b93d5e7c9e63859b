"""Where credentials come from, and that nobody but the server gets to see them."""

import traceback
from collections.abc import Mapping
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from sigd.client.errors import NoCredentials
from sigd.client.wallet import CredentialsSource, Wallet

SECRET = "c2VjcmV0"

KINDS = [{"token": SECRET}, {"user": "9:alice", "token": SECRET}, {"jwt": SECRET}]


def fresh(wallet: Wallet) -> Mapping[str, str]:
    return anyio.run(wallet.fresh)


@pytest.mark.parametrize("given", KINDS)
def test_a_mapping_stays_what_it_was(given: dict[str, str]):
    mine = dict(given)
    wallet = Wallet(mine)
    mine.clear()
    assert fresh(wallet) == given
    assert not wallet.renewable


def test_there_may_be_none():
    assert fresh(Wallet(None)) == {}
    assert not Wallet(None).renewable


def test_a_function_is_asked_each_time():
    tokens = iter("abc")
    wallet = Wallet(lambda: {"token": next(tokens)})
    assert wallet.renewable
    assert [fresh(wallet)["token"] for _ in "abc"] == ["a", "b", "c"]


def test_a_function_may_take_its_time():
    async def make() -> dict[str, str]:
        await anyio.lowlevel.checkpoint()
        return {"jwt": SECRET}

    assert fresh(Wallet(make)) == {"jwt": SECRET}


WRONG: list[Any] = [
    {},
    {"password": SECRET},
    {"user": SECRET},
    {"user": SECRET, "jwt": SECRET},
    {"token": SECRET, "jwt": SECRET},
    {"token": SECRET, "id": "alice"},
    {"token": ""},
    {"token": None},
    {"token": SECRET.encode()},
    {"token": SECRET + "\udc80"},
    {7: SECRET},
    SECRET,
    SECRET.encode(),
    [("token", SECRET)],
    7,
]


@pytest.mark.parametrize("wrong", WRONG)
def test_what_no_server_takes_is_refused_and_not_quoted(wrong: Any):
    with pytest.raises(ValueError, match="credentials are") as caught:
        Wallet(wrong)
    assert SECRET not in shown(caught.value)

    with pytest.raises(NoCredentials, match="no credentials: ValueError") as failed:
        fresh(Wallet(lambda: wrong))
    assert not failed.value.sent
    assert SECRET not in shown(failed.value)


async def raises_late() -> dict[str, str]:
    raise ConnectionError(SECRET)


def raises_at_once() -> dict[str, str]:
    raise ConnectionError(SECRET)


@pytest.mark.parametrize("source", [raises_at_once, raises_late])
def test_what_a_function_raises_is_the_cause_and_not_the_text(source: CredentialsSource):
    with pytest.raises(NoCredentials, match="no credentials: ConnectionError") as caught:
        fresh(Wallet(source))
    assert isinstance(caught.value.__cause__, ConnectionError)
    assert SECRET not in repr(caught.value) + str(caught.value)


@pytest.mark.parametrize("source", [{"token": SECRET}, lambda: {"token": SECRET}])
def test_a_wallet_shows_nothing(source: CredentialsSource):
    assert SECRET not in repr(Wallet(source)) + str(Wallet(source))


def shown(fault: BaseException) -> str:
    return repr(fault) + "".join(traceback.format_exception(fault))
