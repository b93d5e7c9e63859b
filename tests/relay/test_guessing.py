"""Guessing credentials: five a minute from one address for one ID, and nobody else is hurt by it."""

import pytest

from sigd.relay import strikes
from sigd.relay.credentials import Caller, Proof, StaticToken
from sigd.wire.errors import Objection
from sigd.wire.messages import Register
from tests.relay.issued import expiring, rule, static, unix, user
from tests.relay.world import Peer, World


def guesses(world, name, address="192.0.2.7"):
    """What is answered to a wrong token for an ID."""
    return world.connects(address).registers(name, token="guessed")


def test_after_five_in_a_minute_nothing_is_looked_at_for_30_s_row_16():
    world = World(credentials=[static("t")])
    for _ in range(5):
        answer = guesses(world, "alice")
        assert (answer["code"], answer["reconnect"]) == ("auth-failed", False)
        assert "retryAfterMs" not in answer
    world.passes(1)
    for token in ("guessed", "t"):
        alice = world.connects("192.0.2.7")
        answer = alice.registers("alice", token=token)
        assert (answer["code"], answer["retryAfterMs"]) == ("auth-failed", 29_000)
        assert "reconnect" not in answer
        assert alice.closing
    assert world.router.limits_hit == {"auth_failures_per_minute": 2}
    world.passes(29)
    assert world.connects("192.0.2.7").registers("alice", token="t")["type"] == "registered"


class Watched(StaticToken):
    """A credential that counts how often anything about what is shown was computed."""

    looked_at = 0

    def prove(self, register: Register, caller: Caller | None, unix_now: float) -> Proof | None:
        self.looked_at += 1
        return super().prove(register, caller, unix_now)

    def objection(self, register: Register, caller: Caller | None, unix_now: float) -> Objection:
        self.looked_at += 1
        return super().objection(register, caller, unix_now)


@pytest.mark.parametrize("token", ["t", "t ", "guessed"])
def test_while_locked_a_credential_is_not_even_looked_at(token):
    """Neither to judge it nor to find out for the operator what is wrong with it: both tell by the time they take."""
    entry = Watched("file", rule(), [b"t"])
    world = World(credentials=[entry])
    for _ in range(5):
        before = entry.looked_at
        guesses(world, "alice")
        assert entry.looked_at > before, "each guess is looked at until then"
    before = entry.looked_at
    for _ in range(4):
        assert world.connects("192.0.2.7").registers("alice", token=token)["retryAfterMs"] == 30_000
    assert entry.looked_at == before


def test_copies_of_one_register_are_one_guess(monkeypatch):
    """In datagrams a client repeats what was not answered, or only by an error that anybody could have sent."""
    world = World(credentials=[static("t")])
    monkeypatch.setattr(Peer, "attempt", b"the same")
    for seconds in (1, 2, 4, 4, 4, 4):
        assert "retryAfterMs" not in guesses(world, "alice")
        world.passes(seconds)
    for number in range(4):
        monkeypatch.setattr(Peer, "attempt", b"%d" % number)
        assert "retryAfterMs" not in guesses(world, "alice")
    assert world.connects("192.0.2.7").registers("alice", token="t")["retryAfterMs"] == 30_000


@pytest.mark.parametrize(
    ("address", "name", "fine"),
    [
        ("192.0.2.7", "alice", False),
        ("::ffff:192.0.2.7", "alice", False),
        ("192.0.2.8", "alice", True),
        ("2001:db8::7", "alice", True),
        ("192.0.2.7", "bob", True),
        ("192.0.2.7", "Alice", True),
        ("192.0.2.7", None, True),
    ],
)
def test_another_address_or_id_is_not_locked_row_16(address, name, fine):
    world = World(credentials=[static("t")])
    for _ in range(5):
        guesses(world, "alice")
    answer = world.connects(address).registers(name, token="t")
    assert answer["type"] == ("registered" if fine else "error")


def test_neighbours_in_a_64_are_one_address_row_49():
    world = World(credentials=[static("t")])
    for number in range(5):
        guesses(world, "alice", f"2001:db8::{number}")
    assert "retryAfterMs" in guesses(world, "alice", "2001:db8:0:0:ffff::1")
    assert "retryAfterMs" not in guesses(world, "alice", "2001:db8:0:1::1")


def test_without_an_id_it_is_locked_by_that():
    world = World(credentials=[static("t")])
    for _ in range(5):
        guesses(world, None)
    assert "retryAfterMs" in guesses(world, None)
    assert "retryAfterMs" not in guesses(world, "alice")


def test_on_a_unix_socket_each_user_guesses_for_itself():
    world = World(credentials=[static("t"), unix([1000])])
    mallory, alice = Caller(uid=1001), Caller(uid=1000)
    for _ in range(5):
        world.connects("unix", comes_as=mallory).registers("alice", token="guessed")
    assert "retryAfterMs" in world.connects("unix", comes_as=mallory).registers("alice", token="t")
    assert world.connects("unix", comes_as=alice).registers("alice")["type"] == "registered"


def test_who_comes_with_a_certificate_guesses_from_its_address():
    world = World(credentials=[static("t")])
    for number in range(5):
        world.connects("192.0.2.7", comes_as=Caller([f"c{number}"])).registers("alice", token="guessed")
    assert "retryAfterMs" in world.connects("192.0.2.7").registers("alice", token="t")


def test_who_is_let_in_may_still_slip_later():
    world = World(credentials=[static("t")])
    for _ in range(4):
        guesses(world, "alice")
        world.connects("192.0.2.7").registers("alice", token="t")
    assert "retryAfterMs" not in guesses(world, "alice")
    assert "retryAfterMs" in guesses(world, "alice")


def test_an_id_that_it_may_not_have_is_a_guess_as_well():
    world = World(credentials=[static("t", register=["cam*"])])
    for _ in range(5):
        world.connects("192.0.2.7").registers("alice", token="t")
    assert "retryAfterMs" in guesses(world, "alice")


def test_nothing_is_locked_without_a_limit():
    world = World(credentials=[static("t")], auth_failures_per_minute=0)
    for _ in range(50):
        assert "retryAfterMs" not in guesses(world, "alice")
    assert world.connects("192.0.2.7").registers("alice", token="t")["type"] == "registered"


def test_without_credentials_nothing_is_a_guess():
    world = World(deny=["admin"])
    for _ in range(50):
        assert "retryAfterMs" not in world.connects("192.0.2.7").registers("admin")


def test_guessing_costs_no_memory(monkeypatch):
    monkeypatch.setattr(strikes, "STRIKES_KEPT", 64)
    world = World(credentials=[static("t")])
    for number in range(500):
        mallory = world.connects("192.0.2.7")
        mallory.registers(f"name{number}", token="guessed")
        mallory.leaves()
    assert len(world.router.admission._failures) == 64
    assert len(world.router.admission.origins) == 0
    assert len(world.router.admission.unregistered) == 0


def test_what_others_at_its_address_guess_ends_nobodys_link_row_25():
    """A neighbour behind the same NAT cannot have a peer thrown out by the time at which it renews."""
    world = World(credentials=[expiring(), static("t")])
    alice = world.peer("alice", address="192.0.2.7", **user("alice", seconds=60))
    for _ in range(6):
        guesses(world, "alice")
    assert alice.registers("alice", **user("alice", seconds=600))["expiresMs"] == 630_000


def test_renewing_is_no_way_to_guess_on():
    """Each wrong guess costs the link, and counts: who is locked cannot get the next one."""
    world = World(credentials=[static("t", file="own"), static("secret", file="other")])
    for _ in range(5):
        mallory = world.connects("192.0.2.7")
        mallory.registers("mallory", token="t")
        assert mallory.registers(token="guessed")["code"] == "auth-failed"
        assert mallory.closing
    assert "retryAfterMs" in world.connects("192.0.2.7").registers("mallory", token="t")
