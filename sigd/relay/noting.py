"""Refusals on their way into the record and to the taps, with the refused message and its sender."""

from typing import TYPE_CHECKING, Final

from sigd.relay.record import NOBODY, Passed
from sigd.relay.refusals import Attempt
from sigd.wire import messages
from sigd.wire.errors import ErrorCode, ProtocolError
from sigd.wire.ids import is_peer_id
from sigd.wire.messages import Register
from sigd.wire.salvage import Salvaged, is_name, salvage

if TYPE_CHECKING:
    from sigd.relay.ledger import Ledger
    from sigd.relay.link import Link
    from sigd.wire.messages import Relayed

_REGISTER: Final = str(Register.__struct_config__.tag)


def noted(ledger: "Ledger[Link]", sender: str, message: "Relayed", fault: ProtocolError, now: float) -> ProtocolError:
    """Note a readable message that is not passed on, as it would have been delivered; return the fault, to be raised.

    A frame that raises what it also has in a variable is a cycle: it, and the message in it, would stay in memory until
    the collector runs.
    """
    kind = str(message.__struct_config__.tag)
    try:
        body = message.delivered(sender.encode())
    except ProtocolError:
        body = b""
    _refused(ledger, Passed(now, sender, message.to, body, fault.code, kind, message.session, len(body), fault.text))
    fault.is_recorded = True
    return fault


def note(ledger: "Ledger[Link]", link: "Link", fault: "ProtocolError", now: float, frame: bytes, length: int) -> None:
    """Note a refusal for another reason than a recipient, if it names a sender or a known recipient.

    Args:
        ledger: whose record and taps are told.
        link: its sender.
        fault: the error sent to the link.
        now: seconds.
        frame: the message at fault or its beginning; empty: it is not one message that is at fault.
        length: the bytes of that message.
    """
    fault.is_recorded = True
    found = salvage(frame) if frame else Salvaged()
    if fault.code is ErrorCode.TOO_LARGE and fault.ref is None:
        # Nobody has read it, and somebody may wait for an answer.
        fault.ref = found.ref if found.ref is not None and is_name(found.ref) else None
        fault.to = found.to if found.to is not None and is_peer_id(found.to) else None
    kind = found.kind if found.kind in messages.CLIENT_TYPES else ""
    if kind == _REGISTER:
        note_register(ledger, link, found.id, fault, now)
        return
    to = fault.to or found.to or NOBODY
    if not is_peer_id(to):
        to = NOBODY
    if link.id is not None:
        session = found.session if found.session is not None and is_name(found.session) else None
        _refused(ledger, Passed(now, link.id, to, b"", fault.code, kind, session, length, fault.text))
    elif ledger.registry.find(to) is not None:
        attempt = Attempt(now, fault.code, kind, fault.text, to=to, length=length, via=link.via, address=link.address)
        ledger.record.attempt(attempt, link.origin.key)
        ledger.taps.tell(Passed(now, NOBODY, to, b"", fault.code, kind, None, length, fault.text))


def note_register(ledger: "Ledger[Link]", link: "Link", peer: str | None, fault: "ProtocolError", now: float) -> None:
    """Note a `register` that is refused.

    Args:
        ledger: whose record and taps are told.
        link: its sender.
        peer: the ID that it asks for, if any.
        fault: the error sent to the link, and the text for the operator.
        now: seconds.
    """
    fault.is_recorded = True
    claimed = peer if peer is not None and is_peer_id(peer) else link.id or ""
    fault.claimed = claimed
    objection = fault.objection
    attempt = Attempt(
        *(now, fault.code, _REGISTER, fault.text),
        claimed=claimed,
        via=link.via,
        address=link.address,
        objection=objection,
    )
    ledger.record.attempt(attempt, link.origin.key)
    if claimed:
        why = fault.text if objection is None else objection.text
        ledger.taps.tell(Passed(now, claimed, NOBODY, b"", fault.code, _REGISTER, why=why))


def _refused(ledger: "Ledger[Link]", passed: Passed) -> None:
    ledger.record.refuse(passed)
    ledger.taps.tell(passed)
