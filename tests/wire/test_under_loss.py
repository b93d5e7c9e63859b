"""What a link promises, over networks that lose, repeat, delay and reorder, while the client's address changes."""

import math

import pytest

from tests.wire.lossy import FIGURE_BYTES, LOSSES, Conversation, Path, any_conversation, check, ends, figures, table

FEW = 300
MANY = 10_000


def run(seed: int) -> Conversation:
    """One conversation to its end; what fails says how to run it alone."""
    conversation = any_conversation(seed)
    try:
        conversation.run()
        check(conversation)
        reassembly = conversation.reassembly
        assert reassembly.taken == 0, "room was not given back"
    except Exception as fault:
        raise AssertionError(f"tests.wire.test_under_loss.run({seed}): {fault}") from fault
    return conversation


def outcomes(seeds: range) -> dict[str, int]:
    """How often the links of these runs ended, and why."""
    counts: dict[str, int] = {}
    for seed in seeds:
        over = run(seed).client.channel.over
        counts[over] = counts.get(over, 0) + 1
    return counts


def test_every_message_arrives_once_and_in_order_or_its_sender_is_told():
    counts = outcomes(range(FEW))
    # Both happen, or the runs show little: links that live through it, and links that do not.
    assert FEW * 0.8 < counts.pop("") < FEW
    assert counts


@pytest.mark.long
def test_every_message_arrives_once_and_in_order_or_its_sender_is_told_10_000_times():
    counts = outcomes(range(FEW, FEW + MANY))
    assert counts[""] > MANY * 0.8


def test_the_same_seed_is_the_same_run():
    first, second = run(7), run(7)
    assert first.now == second.now
    assert first.server.heard_at == second.server.heard_at
    assert first.client.heard_at == second.client.heard_at


def test_where_nothing_is_lost_nothing_is_sent_twice():
    conversation = ends(messages=([b"x" * FIGURE_BYTES], [b"y" * FIGURE_BYTES]), seed=1).run()
    check(conversation)
    # Six slices each way, and an ack for each slice but those that an ack rides on.
    assert conversation.client.sent + conversation.server.sent <= 24
    assert conversation.now < 0.3


def test_a_network_that_is_gone_ends_the_link_and_both_know():
    conversation = ends(
        paths=(Path(loss=1.0), Path(loss=1.0)), messages=([b"offer", b"candidate"], [b"x" * 2_000]), seed=1
    ).run()
    check(conversation)
    assert conversation.client.finished == conversation.server.finished == 0
    assert conversation.client.channel.over == conversation.server.channel.over == "nothing was acknowledged for 30 s"
    assert conversation.now == pytest.approx(30)


def test_what_only_one_way_carries_is_delivered_and_perhaps_not_known_to_be():
    conversation = ends(paths=(Path(), Path(loss=1.0)), messages=([b"offer"], []), seed=1).run()
    check(conversation)
    assert conversation.server.heard == [b"offer"]
    assert conversation.client.finished == 0
    assert conversation.client.channel.over


def test_row_37_a_conversation_goes_on_from_another_address():
    messages = [b'{"type":"ping","ref":"%d"}' % number for number in range(40)]
    conversation = ends(messages=(messages, messages), paths=(Path(delay=0.1), Path(delay=0.1)), seed=1)
    conversation.rebindings = [0.9, 0.3]
    conversation.run()
    check(conversation)
    assert not conversation.client.channel.over
    assert conversation.client.heard == conversation.server.heard == messages
    assert conversation.server.channel.place == conversation.client.place == 2


def test_the_figures_are_reproducible_and_good():
    found = figures(runs=200)
    assert found[2:4] == figures(LOSSES[2:4], runs=200)
    assert [one.loss for one in found] == list(LOSSES)
    by_loss = {one.loss: one for one in found}
    assert by_loss[0.0].median == by_loss[0.0].p99 == pytest.approx(0.15)  # four slices, and a round trip later two
    assert by_loss[0.05].p99 < 1
    assert by_loss[0.2].median < 1
    assert by_loss[0.2].undelivered == 0
    assert by_loss[0.3].undelivered < 0.01
    assert all(one.undelivered <= one.told and one.p99 < math.inf for one in found)


def test_the_table_has_a_row_for_each_loss():
    lines = table(runs=10).splitlines()
    assert len(lines) == 2 + len(LOSSES)
    assert {line.count("|") for line in lines} == {lines[0].count("|")}
