"""Peers that are not here: messages that are passed on, and IDs that a peer elsewhere holds."""

from typing import TYPE_CHECKING

import pytest

from sigd.relay.elsewhere import Elsewhere
from sigd.relay.link import PROBE_SECONDS
from sigd.wire import said
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.messages import Relayed
from tests.relay.issued import static
from tests.relay.world import Peer, World

if TYPE_CHECKING:
    from sigd.relay.link import Claim

BYE = {"type": "bye", "to": "far", "ref": "1"}


class Remote:
    """A peer of another node."""

    def __init__(self, fingerprint: tuple[str, ...] = ()) -> None:
        self.id = "far"
        self.patient = False
        self.asked_late = False
        self.fingerprint = fingerprint
        self.challenge: Claim | None = None
        self.pings = 0
        self.refused: list[ErrorCode] = []

    def ping(self, now: float) -> None:
        self.pings += 1

    def has_unread(self) -> bool:
        return False

    def refuse(self, fault: ProtocolError) -> None:
        self.refused.append(fault.code)


class Node(Elsewhere):
    """Another node with one peer."""

    def __init__(self, remote: Remote | None = None) -> None:
        self.remote = remote
        self.passed: list[tuple[object, str]] = []

    def pass_on(self, link: object, message: Relayed, now: float) -> bool:
        if self.remote is None or message.to != self.remote.id:
            return False
        self.passed.append((link, message.to))
        return True

    def holder(self, peer: str) -> Remote | None:
        return self.remote if self.remote is not None and peer == self.remote.id else None


def world_with(node: Node) -> tuple[World, Peer]:
    world = World(misses_per_minute=1)
    world.router.admission.elsewhere = node
    return world, world.peer("alice")


def test_the_answer_to_a_message_that_is_passed_on_comes_later() -> None:
    node = Node(Remote())
    _, alice = world_with(node)
    alice.says(BYE, BYE, BYE)
    assert alice.hears_nothing()
    assert node.passed == [(alice, "far")] * 3  # and none of them counts as a miss
    alice.reply(said.Ok(ref="1"))
    alice.world.settle()
    assert alice.hears() == {"type": "ok", "ref": "1"}


def test_a_message_to_a_peer_that_is_nowhere_is_a_miss() -> None:
    _, alice = world_with(Node())
    alice.says(BYE, BYE)
    assert [alice.hears()["code"], alice.hears()["code"]] == ["peer-unavailable", "rate-limited"]


def test_an_invalid_message_is_not_passed_on() -> None:
    node = Node(Remote())
    _, alice = world_with(node)
    alice.says({**BYE, "to": "no ID"})
    assert alice.hears()["code"] == "bad-message"
    assert not node.passed


class TestClaims:
    def test_a_remote_holder_that_lives_keeps_its_id(self) -> None:
        remote = Remote()
        world, _ = world_with(Node(remote))
        claimant = world.connects("a")
        claimant.says({"type": "register", "id": "far"})
        assert (remote.pings, claimant.hears_nothing()) == (1, True)
        world.router.admission.sign_of_life(remote, world.now)
        world.settle()
        assert claimant.hears()["code"] == "id-taken"
        assert remote.challenge is None

    def test_a_silent_remote_holder_loses_it_once_it_is_gone(self) -> None:
        remote = Remote()
        world, _ = world_with(Node(remote))
        claimant = world.connects("a")
        claimant.says({"type": "register", "id": "far"})
        world.passes(PROBE_SECONDS + 0.25)
        assert remote.refused == [ErrorCode.IDLE_TIMEOUT]
        assert claimant.id is None
        world.passes(PROBE_SECONDS)
        assert len(remote.refused) == 2  # it has not conceded yet
        world.router.admission.concede(remote)
        world.settle()
        assert claimant.hears()["id"] == "far"
        assert world.router.registry.find("far") is claimant

    @pytest.mark.parametrize("same", [True, False])
    def test_the_same_credential_takes_a_remote_id_over(self, same: bool) -> None:
        world = World(credentials=[static("one")])
        local = world.peer("near", token="one")
        remote = Remote(local.fingerprint if same else ("another",))
        world.router.admission.elsewhere = Node(remote)
        claimant = world.connects("a")
        answer = claimant.registers("far", token="one")
        assert answer["type"] == ("registered" if same else "error")
        assert remote.refused == ([ErrorCode.REPLACED] if same else [])
