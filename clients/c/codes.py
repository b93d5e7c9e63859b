"""Prints sigd_codes.h: the tables and numbers that the C client shares with the rest of sigd.

    python clients/c/codes.py > clients/c/sigd_codes.h

A test compares what it prints with the file.
"""

import sys
from collections.abc import Iterator
from itertools import count, islice
from math import isqrt
from typing import Final

from sigd.client.backoff import LONGEST_SECONDS, SHORTEST_SECONDS
from sigd.client.conversation import STABLE_SECONDS
from sigd.client.peer import CONNECT_SECONDS
from sigd.client.silence import SILENCE
from sigd.config import DEFAULT_PORT, Limits
from sigd.wire import datagram, framing, greeting, macs, messages, said, sending
from sigd.wire.errors import ErrorCode, Next

_MS: Final = 1000

NUMBERS: Final[dict[str, tuple[float, str]]] = {
    "PORT": (DEFAULT_PORT, "TCP and UDP"),
    "MAX_NAME": (64, "characters of a peer ID or a session"),
    "MAX_COOKIE": (48, "characters"),
    "MIN_FRAME": (messages.MIN_FRAME, "bytes: the least maxFrame that a client may ask for"),
    "MAX_FRAME": (framing.MAX_FRAME, "bytes: a length has 24 bits"),
    "FIRST_FRAME": (Limits().max_frame_unregistered, "bytes that a server takes before it has registered you"),
    "MAX_META": (messages.MAX_META, "bytes"),
    "MAX_REASON": (messages.MAX_REASON, "characters"),
    "KEEPALIVE_MS": (Limits().keepalive_ms, "where nobody has asked for another"),
    "MIN_KEEPALIVE_MS": (messages.MIN_KEEPALIVE_MS, "less counts as this"),
    "MAX_KEEPALIVE_MS": (messages.MAX_KEEPALIVE_MS, "more counts as this"),
    "SILENCE_PERCENT": (SILENCE * 100, "of a keepalive: who was silent for so long is taken for dead"),
    "CONNECT_MS": (CONNECT_SECONDS * _MS, "for one attempt, the answer to register included"),
    "SHORTEST_PAUSE_MS": (SHORTEST_SECONDS * _MS, "ceiling of the first pause before connecting again"),
    "LONGEST_PAUSE_MS": (LONGEST_SECONDS * _MS, "ceiling of all later ones"),
    "MOST_DOUBLINGS": (7, "of that ceiling: more would only make the number large"),
    "LONGEST_HOLD_MS": (86_400_000, "a server that asks for more than a day has made a slip"),
    "STABLE_MS": (STABLE_SECONDS * _MS, "once registered for so long, pauses are short again"),
    "LEAVE_MS": (1000, "for a stream's server to close, once it was told"),
    "STUCK_MS": (20, "until a socket that took nothing is tried again"),
    "MAX_DATAGRAM": (datagram.MAX_DATAGRAM, "bytes"),
    "MAX_DATAGRAM_MESSAGE": (datagram.MAX_MESSAGE, "bytes of a message over UDP"),
    "MAX_SLICES": (datagram.MAX_SLICES, "datagrams of one message"),
    "SLICE_BYTES": (datagram.SLICE_BYTES, "of a message in each of its datagrams but the last"),
    "LEAST_SLICE": (datagram.LEAST_SLICE, "bytes, of what others send"),
    "LEAST_REGISTER": (greeting.LEAST_REGISTER, "bytes of a first datagram, or it is not answered"),
    "MAC_LETTERS": (macs.MAC_LETTERS, "hexadecimal, at the end of a datagram"),
    "DOUBT_MS": (10_000, "until a refusal counts that anybody may have sent"),
    "SILENT_MS": (25_000, "until a ping over UDP: there are NATs that forget after 30 s"),
    "REPING_MS": (sending.PING_SECONDS * _MS, "from one unanswered ping to the next"),
    "HINT_MS": (3000, "for an answer, after a hint that the server does not know the link"),
    "FIRST_RTO_MS": (sending.FIRST_TIMEOUT * _MS, "until a datagram is sent again (RFC 6298)"),
    "LEAST_RTO_MS": (sending.LEAST_TIMEOUT * _MS, "never sooner"),
    "MOST_RTO_MS": (sending.LONGEST_TIMEOUT * _MS, "nor later"),
    "UNACKNOWLEDGED_MS": (sending.UNACKNOWLEDGED_SECONDS * _MS, "after which it ends the link"),
}
"""Every number, and what it is; a client that was compiled with others is out of step with the daemon."""

KINDS: Final[dict[type[said.Said], tuple[str, str, str]]] = {
    said.OfferFrom: ("OFFER", "from", "sdp"),
    said.AnswerFrom: ("ANSWER", "from", "sdp"),
    said.CandidateFrom: ("CANDIDATE", "from", "candidate"),
    said.ByeFrom: ("BYE", "from", "reason"),
    said.MessageFrom: ("MESSAGE", "from", "data"),
    said.IceServerList: ("ICE_SERVERS", "", "iceServers"),
    said.Registered: ("REGISTERED", "id", "iceServers"),
    said.Ok: ("OK", "", ""),
    said.Error: ("ERROR", "to", "message"),
    said.GoingAway: ("GOING_AWAY", "", "reason"),
    said.PingSaid: ("PING", "", ""),
}
"""What the server says, as far as a device has a use for it: name, whose ID it has, and what it carries."""

OWN: Final[dict[str, str]] = {
    "SENT": "the texts of the message `ref` are yours again",
    "UNSENT": "the same, the link having ended: perhaps it was not delivered",
}
"""What the client itself tells the device."""


def primes() -> Iterator[int]:
    """All of them."""
    return (n for n in count(2) if all(n % k for k in range(2, isqrt(n) + 1)))


def cube_root(number: int) -> int:
    """The largest integer whose cube is not larger."""
    guess: float = float(number) ** (1 / 3)
    root = round(guess)
    while root**3 > number:
        root -= 1
    while (root + 1) ** 3 <= number:
        root += 1
    return root


def words(numbers: Iterator[int]) -> Iterator[str]:
    """Rows of a table of 32 bits each, joined for a macro."""
    while row := list(islice(numbers, 8)):
        yield " \\\n    " + ", ".join(f"0x{number & 0xFFFFFFFF:08x}" for number in row)


def header() -> str:
    """The text of sigd_codes.h."""
    lines = [
        "/* Made by clients/c/codes.py from what the daemon is made of: edit that, not this. */",
        "#ifndef SIGD_CODES_H",
        "#define SIGD_CODES_H",
        "",
    ]
    lines += [f"#define SIGD_{name:<21}{value:<8.0f} /* {what} */" for name, (value, what) in NUMBERS.items()]
    lines += ["", "/* What comes, as the server sends it; a device is told of all but PING. */", "enum sigd_type {"]
    lines += [f"    SIGD_TYPE_{name}," for name, _, _ in KINDS.values()]
    lines += [f"    SIGD_TYPE_{name}, /* {what} */" for name, what in OWN.items()]
    lines[-1] = lines[-1].replace(",", "", 1)
    lines += ["};", "", "/* Of each its name, the member that holds a peer ID, and the one that is the body. */"]
    lines += ["#define SIGD_TYPE_TEXTS"]
    lines[-1] += "".join(
        f' \\\n    "{kind.__struct_config__.tag}\\0" "{peer}\\0" "{body}\\0"' for kind, (_, peer, body) in KINDS.items()
    )
    lines += ["", "/* What a client does after an error (protocol.md, section 7). */", "enum sigd_next {"]
    lines += [f"    SIGD_NEXT_{each.name}," for each in Next]
    lines[-1] = lines[-1].rstrip(",")
    lines += ["};", "", "enum sigd_code {", "    /* Of a newer server. */", "    SIGD_CODE_UNKNOWN"]
    for code in ErrorCode:
        lines[-1] += ","
        lines += [f"    /* {code.meaning} */", f"    SIGD_CODE_{code.name}"]
    lines += ["};", "", "/* How each is spelled, and then: enum sigd_next, doubled, and 1 if it ends the link. */"]
    lines += ['#define SIGD_CODE_TEXTS \\\n    "unknown\\0"' + "".join(f' \\\n    "{code}\\0"' for code in ErrorCode)]
    lines += ["#define SIGD_CODE_RULES \\\n    SIGD_NEXT_BACK_OFF * 2"]
    lines[-1] += "".join(f", \\\n    SIGD_NEXT_{code.next.name} * 2 + {code.closes:d}" for code in ErrorCode)
    lines += [
        "",
        "/* SHA-256 (FIPS 180-4): square roots of the first primes, and cube roots, behind the point. */",
    ]
    lines += ["#define SIGD_SHA256_H" + ",".join(words(isqrt(prime << 64) for prime in islice(primes(), 8)))]
    lines += ["#define SIGD_SHA256_K" + ",".join(words(cube_root(prime << 96) for prime in islice(primes(), 64)))]
    lines += ["", "#endif"]
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(header())
