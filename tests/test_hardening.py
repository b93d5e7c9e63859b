"""The threat model as tests: each row of its table, and each measured fact behind it, with what is to come of it.

The rows are those of docs/security.md, "Threats by number"; the facts are measured properties of libraries and of the
kernel. Beside each attack two peers who behave go on talking, and hear nothing but each other
(tests/hardening/scene.py). Attacks meet a daemon in this process, on a clock that jumps; trials are about a process of
its own, or about a program beside it.
"""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import trio

from sigd.log import REPEAT_SECONDS
from tests.conftest import Serving
from tests.hardening import addresses, datagrams, floods, identities, messages, openings, operation, outside, peers
from tests.hardening.processes import Ground, Trial
from tests.hardening.scene import DEFINED, Attack, beside, slug
from tests.in_process import FRAMINGS

pytestmark = pytest.mark.slow  # hundreds of attacks, each beside a pair that talks: more than a few seconds in all


class Row:
    """One row of the table.

    Attributes:
        number: of the row, or of the fact.
        attack: in a few words.
        shown: what shows that it is met.
        reason: why nothing is shown, or what is not shown yet.
    """

    def __init__(self, number: int, attack: str, *shown: Attack | Trial, reason: str = "") -> None:
        self.number = number
        self.attack = attack
        self.shown = shown
        self.reason = reason


ROWS = (
    Row(1, "huge length prefix", openings.huge_prefix, openings.nothing_set_aside, openings.line_without_end),
    Row(2, "zero or short length", openings.zeros, openings.FRAGMENTS, openings.empty_lines),
    Row(
        3,
        "wrong protocol on the port",
        openings.http,
        openings.https,
        openings.unwanted_tls,
        openings.unwanted_text,
        openings.both_on_one_port,
        openings.other_protocols,
    ),
    Row(
        4,
        "slowloris",
        openings.slowloris,
        openings.slow_register,
        openings.slow_handshake,
        openings.slow_proxy,
    ),
    Row(
        5,
        "never registers",
        openings.silence,
        openings.silence_before_tls,
        openings.late_handshake,
        openings.anything_but_register,
    ),
    Row(
        6,
        "many unregistered",
        openings.crowd_of_one_address,
        openings.silent_crowd,
        openings.crowd_before_tls,
        openings.crowd_of_all,
    ),
    Row(
        7,
        "handshakes that stall, and floods of them",
        openings.stalled_handshake,
        openings.stalled_handshakes,
        openings.garbled_handshakes,
        openings.no_tickets,
    ),
    Row(
        8,
        "descriptors that run out",
        openings.more_than_fit,
        openings.more_than_one_address_may,
        operation.few_descriptors,
        operation.fewer_descriptors,
    ),
    Row(
        9,
        "depth bomb",
        messages.ARRAYS,
        messages.ARRAYS_TYPED,
        messages.RELAYED_BOMBS,
        messages.UNKNOWN_BOMB,
        messages.TYPE_BOMB,
        messages.sixteen_deep,
    ),
    Row(
        10,
        "invalid UTF-8, surrogates",
        messages.RELAYED_UTF8,
        messages.OTHER_UTF8,
        messages.SURROGATES,
        messages.LINE_UTF8,
    ),
    Row(11, "duplicate keys", messages.duplicate_keys),
    Row(
        12,
        "60 kB of type, or of an unknown key",
        messages.LONG_TYPE,
        messages.LONG_COMMAND,
        messages.LONG_MEMBER,
        messages.LONG_VALUES,
        messages.short_answers,
    ),
    Row(13, "log injection", messages.FORGED_LINES, messages.one_line, messages.forged_address),
    Row(14, "terminal escapes", messages.steering, outside.steered_programs),
    Row(15, "NUL in an ID or in SDP", messages.NULS, messages.TYPED_NULS),
    Row(
        16,
        "token guessing",
        identities.guesses,
        identities.guesses_without_id,
        identities.guesses_at_renewal,
        identities.guesses_beside_renewal,
        identities.many_names,
    ),
    Row(17, "timing, type confusion", identities.strange_credentials, identities.strange_claims, outside.timing),
    Row(
        18, "token replay after expiry", identities.expired_token, identities.prolonged_token, identities.renewed_token
    ),
    Row(19, "token of another ID", identities.token_of_another, identities.recipient_of_another),
    Row(20, "ID squatting, hijack", identities.hijack, identities.take_over, identities.squatting),
    Row(21, "take-over ping-pong", identities.ping_pong, identities.many_probes),
    Row(22, "forged from", peers.forged_from),
    Row(23, "line smuggling", peers.smuggled_line, peers.delivered_unchanged),
    Row(24, "slow reader", floods.slow_reader, floods.deaf_asker),
    Row(
        25,
        "a flood to have its victim thrown out",
        floods.flood_of_a_slow_victim,
        floods.flood_before_a_ping,
    ),
    Row(
        26,
        "message flood",
        floods.small_flood,
        floods.costly_flood,
        floods.limited_flood,
        floods.camera,
        operation.latency_beside_pings,
        operation.latency_without_rates,
        operation.latency_beside_bombs,
    ),
    Row(
        27,
        "head-of-line block",
        floods.frozen_peer,
        operation.latency_beside_frozen,
        operation.latency_beside_frozen_without_rates,
    ),
    Row(28, "enumeration", identities.enumeration, identities.forbidden, identities.listing),
    Row(29, "loops of errors", peers.error_loop, peers.wired_together),
    Row(30, "registry growth", peers.comers_and_goers, peers.many_ids, outside.comers_of_the_core),
    Row(31, "amplification", datagrams.amplification),
    Row(32, "state before a cookie", datagrams.forged_registers, datagrams.forged_without_end),
    Row(33, "cookie theft, replay", datagrams.stolen_cookies),
    Row(34, "datagrams injected, replayed", datagrams.injected),
    Row(35, "reassembly memory", datagrams.unfinished_messages),
    Row(36, "reflection between servers", datagrams.wired_together),
    Row(37, "NAT rebinding, address hijack", datagrams.hijacked),
    Row(38, "tokens read on their way", outside.plain_text, outside.listener_of_tls),
    Row(39, "downgrade, renegotiation", outside.old_tls, outside.renegotiation, outside.typed_lines),
    Row(
        40,
        "secret disclosure",
        outside.secrets_looked_for,
        outside.readable_secrets,
        reason="the journal and LoadCredential come with the systemd units, `status` with the socket that sigctl asks",
    ),
    Row(41, "a reload with a fault", operation.faulty_reload, operation.reload_without_descriptors, operation.revoked),
    Row(42, "an empty or blank file of secrets", outside.blank_secrets, outside.no_credentials),
    Row(43, "the wall clock jumps", outside.wall_clock, outside.reload_after_jump),
    Row(44, "SIGTERM", operation.stop, operation.stop_at_once),
    Row(
        45,
        "kill -9, and a restart",
        operation.killed,
        reason="socket activation, by which nobody is refused meanwhile, comes with the systemd units",
    ),
    Row(46, "thundering herd", peers.herd),
    Row(47, "a bug", peers.bug, reason="the watchdog, which restarts a loop that hangs, comes with the systemd units"),
    Row(48, "a log that cannot be written", operation.full_disk),
    Row(
        49,
        "many addresses of one subscriber",
        addresses.many_addresses,
        addresses.many_strangers,
        addresses.guesses_from_everywhere,
        addresses.untrusted_proxy,
    ),
)


FACTS = (
    Row(
        1,
        "one line that does not decode ends a naive server",
        messages.ARRAYS,
        messages.ARRAYS_TYPED,
        messages.RELAYED_UTF8,
        messages.LINE_UTF8,
        peers.bug,
    ),
    Row(2, "depth", messages.ARRAYS, messages.RELAYED_BOMBS, messages.UNKNOWN_BOMB, messages.TYPE_BOMB),
    Row(3, "what is skipped is not checked for UTF-8", messages.RELAYED_UTF8, messages.OTHER_UTF8),
    Row(4, "what is opaque is forwarded with its newlines", peers.smuggled_line),
    Row(5, "a pattern that ends in $ takes a newline", messages.FORGED_LINES),
    Row(6, "of duplicate keys the last wins", messages.duplicate_keys),
    Row(7, "the text of an error echoes what came", messages.LONG_TYPE, messages.LONG_VALUES, messages.short_answers),
    Row(
        8,
        "numbers, surrogates, controls",
        messages.numbers,
        messages.SMALL_NUMBERS,
        messages.NOT_JSON,
        messages.SURROGATES,
        messages.NULS,
        messages.steering,
    ),
    Row(9, "what is opaque is a view of the buffer", peers.delivered_unchanged),
    Row(10, "compare_digest takes no text, base64 ignores junk", identities.strange_credentials),
    Row(11, "EMFILE", operation.few_descriptors, operation.fewer_descriptors),
    Row(12, "half-open connections", reason="what the kernel is asked for is in tests/net/test_listeners.py"),
    Row(13, "many small messages in one read", floods.small_flood, operation.latency_without_rates),
    Row(14, "a half-closed link is answered", peers.half_closed),
    Row(15, "kill -9 and a socket that somebody else holds", reason="socket activation comes with the systemd units"),
)


def parameters(kind: type[Attack] | type[Trial]) -> list[Any]:
    """Each attack or trial, in each of its framings, once, under the number of its row."""
    found: dict[Attack | Trial, str] = {}
    for table, word in ((ROWS, "row"), (FACTS, "fact")):
        for row in table:
            for each in row.shown:
                found.setdefault(each, f"{word}-{row.number}-{slug(each.name)}")
    return [
        pytest.param(each, framing, id=f"{name}-{framing}", marks=[pytest.mark.alone] if _is_alone(each) else [])
        for each, name in found.items()
        if isinstance(each, kind)
        for framing in each.framings
    ]


def _is_alone(each: Attack | Trial) -> bool:
    return isinstance(each, Trial) and each.alone


class TestTable:
    def test_every_row_has_a_test_or_a_reason(self) -> None:
        assert [row.number for row in ROWS] == [*range(1, 50)]
        assert [fact.number for fact in FACTS] == [*range(1, 16)]
        assert all(row.shown or row.reason for row in (*ROWS, *FACTS))
        assert all(row.shown for row in ROWS)

    def test_nothing_is_left_out(self) -> None:
        shown = {each for row in (*ROWS, *FACTS) for each in row.shown}
        assert [each.name for each in DEFINED if each not in shown] == []

    def test_every_name_is_that_of_one(self) -> None:
        names = [parameter.id for kind in (Attack, Trial) for parameter in parameters(kind)]
        assert len(names) == len(set(names))

    def test_every_framing_is_attacked(self) -> None:
        """Rows 31 to 37 are about datagrams. Streams are attacked in the framings in which a rule differs."""
        spoken = {row.number: {framing for each in row.shown for framing in each.framings} for row in ROWS}
        assert {number for number, framings in spoken.items() if "udp" in framings} == {*range(31, 38)}
        assert all(len([row for row in spoken.values() if framing in row]) > 5 for framing in FRAMINGS)


@pytest.mark.parametrize(("attack", "framing"), parameters(Attack))
async def test_attack(serving: Serving, caplog: pytest.LogCaptureFixture, attack: Attack, framing: str) -> None:
    caplog.set_level(logging.DEBUG, "sigd")
    auth = None if attack.auth is None else attack.auth()
    async with serving(*attack.listen, auth=auth, **attack.limits) as daemon, beside(daemon, framing) as scene:
        began = trio.current_time()
        await attack.act(scene)
        took = trio.current_time() - began
    warned = Counter(record.getMessage().split(" ")[0] for record in caplog.records if record.levelno > logging.INFO)
    assert set(warned) == set(attack.warnings)
    assert all(count <= 1 + took / REPEAT_SECONDS for count in warned.values())
    for record in caplog.records:
        line = record.getMessage()
        assert len(line) <= 512 or record.levelno == logging.ERROR
        assert line.isascii()
        assert line.isprintable()
        assert "2026 INFO ok" not in line
        assert "EVIL" not in line


@pytest.mark.parametrize(("trial", "framing"), parameters(Trial))
async def test_trial(tmp_path: Path, trial: Trial, framing: str) -> None:
    await trial.on(Ground(tmp_path, framing))
