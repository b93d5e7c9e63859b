"""Any messages of two peers have a verdict, in a bounded time, and it denies nothing that they sent."""

import json
import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sigd.relay.record import MESSAGES_KEPT, NOBODY, RING_BYTES, PairHistory, Passed
from sigd.relay.refusals import Attempt
from sigd.why.facts import Ended, IceFacts, PeerFacts
from sigd.why.judge import judge
from sigd.why.ladder import verdict_lines
from sigd.why.verdict import Verdict
from sigd.wire.errors import ErrorCode
from tests.why.staged import AT, HOST, MDNS, PUBLIC, RELAY, SRFLX, TCP, answer, sdp
from tests.why.stagings import STAGED

NOW = AT + 500

descriptions = st.builds(
    lambda make, inside, origin, ufrag, version, ends, spoilt: spoilt(
        make(*inside, origin=origin, ufrag=ufrag, version=version, ends=ends)
    ),
    st.sampled_from([sdp, answer]),
    st.lists(st.sampled_from([HOST, SRFLX, RELAY, MDNS, PUBLIC]), max_size=2),
    st.integers(1, 3),
    st.sampled_from(["aaaa", "bbbb", "cccc"]),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from(
        [
            *[lambda text: text] * 6,
            lambda text: text.replace("\r\n", "\\r\\n"),
            lambda text: json.dumps({"sdp": text}),
            lambda text: text.strip(),
            lambda text: text[:200],
            lambda text: "",
            lambda text: text.replace("m=audio 40313", "m=audio 0"),
            lambda text: text[: text.index("m=application")],
        ]
    ),
)
inits = st.builds(
    lambda form, text, ufrag: form(text, {} if ufrag is None else {"usernameFragment": ufrag}),
    st.sampled_from(
        [
            *[lambda text, more: {"candidate": text, "sdpMid": "0", **more}] * 4,
            lambda text, more: {"candidate": text, **more},
            lambda text, more: {"sdp": text, "sdpMid": "0", **more},
            lambda text, more: {"candidate": {"candidate": text}},
            lambda text, more: {"candidate": json.dumps({"candidate": text})},
            lambda text, more: {"candidate": 5},
            lambda text, more: {"x": text},
        ]
    ),
    st.sampled_from([HOST, SRFLX, RELAY, MDNS, TCP, "candidate:1", HOST.removeprefix("candidate:"), "1 2 udp"]),
    st.sampled_from([None, None, "aaaa", "bbbb"]),
)
messages = st.one_of(
    st.builds(lambda kind, text: {"type": kind, "sdp": text}, st.sampled_from(["offer", "answer"]), descriptions),
    st.builds(lambda init: {"type": "candidate", "candidate": init}, inits | st.none()),
    st.builds(lambda data: {"type": "message", "data": data}, st.one_of(st.integers(), inits)),
    st.just({"type": "bye"}),
)
codes = st.sampled_from([None] * 6 + [ErrorCode.PEER_BUSY, ErrorCode.PEER_UNAVAILABLE, ErrorCode.BAD_MESSAGE])
said = st.lists(
    st.tuples(st.booleans(), messages, st.sampled_from([None, "k1", "k2"]), codes, st.floats(0, 30), st.booleans()),
    max_size=12,
)


def history(said: Sequence[Any]) -> PairHistory:
    """The record of what two peers said; a message that could not be read has no body, and maybe no recipient."""
    passed, now = list[Passed](), AT
    for is_first, message, session, code, after, is_read in said:
        now += after
        sender, to = ("cam1", "bob") if is_first else ("bob", "cam1")
        whole = message if session is None else {**message, "session": session}
        if code is ErrorCode.BAD_MESSAGE:
            named = to if is_read else NOBODY
            passed.append(Passed(now, sender, named, b"", code, message["type"], session, 99, "not a message"))
        else:
            passed.append(Passed(now, sender, to, msgspec.json.encode(whole), code))
    return PairHistory(("cam1", "bob"), passed, 0.0)


names = st.sampled_from(["cam1", "bob", ""])
facts = st.fixed_dictionaries(
    {
        peer: st.builds(
            lambda peer, via, when, host, expires: PeerFacts(
                peer, via, AT - 60, False, [] if when is None else [Ended(AT + when, "replaced", 1.0)], expires, host
            ),
            st.just(peer),
            st.sampled_from([None, "tcp"]),
            st.none() | st.floats(-10, 300),
            st.sampled_from(["", "127.0.0.1", "8.8.4.4", "192.168.1.5"]),
            st.none() | st.floats(AT - 99, AT + 99),
        )
        for peer in ("cam1", "bob")
    }
)
ice = st.builds(IceFacts, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([60.0, 1e9]))


def check_claims(verdict: Verdict, said: Sequence[Any], session: str | None) -> None:
    """Hold what the verdict denies against what was sent; without looking into how it came to that."""

    def sent(kind: str, sender: str | None = None, since: float = 0.0) -> list[Any]:
        now, found = AT, []
        for is_first, message, named, *_, after, _ in said:
            now += after
            by = "cam1" if is_first else "bob"
            is_end = message["type"] == "candidate" and message["candidate"] is None
            if message["type"] == kind and not is_end and sender in {None, by} and now >= since:
                found.append(named)
        return found

    text = verdict.likely
    if text.startswith("Neither") and verdict.rule == "no-offer":
        assert session is not None or not sent("offer"), text
        assert session not in sent("offer"), text
    for peer in ("cam1", "bob"):
        if f"{peer} sent no candidates" in text:
            assert verdict.at is not None
            assert not sent("candidate", peer, verdict.at), text
        if f"{peer} never answered" in text:
            kinds = [(message["type"], "cam1" if is_first else "bob") for is_first, message, *_ in said]
            offers = [place for place, (kind, by) in enumerate(kinds) if kind == "offer" and by != peer]
            assert ("answer", peer) not in kinds[offers[-1] :], text


@given(said, facts, ice, st.sampled_from([None, None, "k1", "k3"]), st.booleans())
def test_no_verdict_denies_what_was_sent(said, facts, ice, session, full):
    verdict = judge(history(said), facts, ice, NOW, session=session, full=full)
    assert verdict.rule in STAGED
    assert all(line.isprintable() for line in verdict_lines(verdict))
    check_claims(verdict, said, session)


@given(
    said,
    st.sampled_from(["cam1", "bob", ""]),
    st.sampled_from(["cam1", "bob", ""]),
    st.sampled_from(["register", "offer", ""]),
)
def test_attempts_of_strangers_change_no_claim(said, claimed, to, kind):
    attempt = Attempt(AT, ErrorCode.FORBIDDEN, kind, "no", claimed=claimed, to=to)
    verdict = judge(history(said)._replace(attempts=(attempt,)), {}, IceFacts(), NOW)
    assert verdict.rule in STAGED
    check_claims(verdict, said, None)


WORST = {
    "candidates": "".join(f"a=candidate:1 1 udp 1 10.{n // 250}.{n % 250}.1 9 typ host\r\n" for n in range(1400)),
    "sections": "m=audio 9 X 0 1 2 3 4 5 6 7 8 9\r\na=mid:1\r\n" * 1500,
    "spaces": "\no=" + " " * 64_000,
    "origins": "\no= " * 16_000,
    "blank": "\r\n" * 32_000,
    "json": '{"sdp":' * 9_000,
    "digits": "9" * 64_000,
    "attributes": "a=fingerprint:sha-256 " + "AB:" * 21_000,
}


@pytest.mark.alone
@pytest.mark.parametrize("kind", WORST)
def test_the_worst_that_a_record_holds_is_judged_in_a_second(kind):
    text = f"v=0\r\n{WORST[kind]}"
    each = text[: RING_BYTES // (MESSAGES_KEPT - 1)]
    passed = [
        Passed(AT + n, sender, to, msgspec.json.encode({"type": said, "sdp": whole}), None)
        for sender, to in (("cam1", "bob"), ("bob", "cam1"))
        for n in range(MESSAGES_KEPT)
        for said in ["offer" if (n + (sender == "bob")) % 2 else "answer"]
        for whole in [text if n == MESSAGES_KEPT - 1 else each]
    ]
    passed.sort(key=lambda each: each.when)
    pair = PairHistory(("cam1", "bob"), passed, 0.0)
    others = [PairHistory(("cam1", f"p{n}"), [one._replace(to=f"p{n}") for one in passed], 0.0) for n in range(4)]
    started = time.process_time()
    assert judge(pair, {}, IceFacts(), NOW, others=others).rule
    assert time.process_time() - started < 1.0
