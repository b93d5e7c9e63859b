"""Admission: registration, IDs and their expiry. No I/O, no clock: `now` is seconds on the caller's clock."""

import functools
import math
from typing import TYPE_CHECKING, Final

from msgspec import UNSET

from sigd import __version__
from sigd.relay import objections
from sigd.relay.expiry import Renewals, end_of, expire_with
from sigd.relay.ice import RENEW_SECONDS, IceServer, Vendor
from sigd.relay.link import Claim, Holder
from sigd.relay.lobby import Lobby
from sigd.relay.noting import note_register
from sigd.relay.strikes import Strikes, StrikesState
from sigd.wire import messages, said
from sigd.wire.errors import ErrorCode, Objection, ProtocolError
from sigd.wire.times import NEVER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sigd.relay.access import Access
    from sigd.relay.credentials import Caller, Grant
    from sigd.relay.elsewhere import Elsewhere
    from sigd.relay.ledger import Ledger
    from sigd.relay.link import Link
    from sigd.wire.messages import Register, Request

SERVER: Final = f"sigd/{__version__}"


class Admission(Lobby):
    """The door: caps, credentials, IDs, and rights that end with time.

    Attributes:
        access: the credentials that are accepted, and for which IDs.
        vendor: of STUN and TURN servers.
        elsewhere: the hook for peers that are not here, if there is one.
        unix_time: the clock on the wall, which credentials and people go by.
    """

    def __init__(self, ledger: "Ledger[Link]", access: "Access", vendor: Vendor) -> None:
        super().__init__(ledger)
        self.access = access
        self.vendor = vendor
        self.elsewhere: Elsewhere | None = None
        self.unix_time = ledger.wall.unix_time
        self._failures: Strikes[tuple[str, str]] = Strikes()
        self._takeovers: Strikes[str] = Strikes()

    # -- registering

    def register(self, link: "Link", message: "Register", now: float) -> None:
        """Give the link an ID, at once or, where somebody holds it, after that one was asked for a sign of life.

        Raises:
            ProtocolError: `already-registered`, `id-taken`, `auth-failed` or `auth-expired`.
        """
        if link.id is not None:
            self._renew(link, message, now)
            return
        grant = self._judge(link, message, now)
        peer = message.id if message.id is not None else self.access.pick(grant)
        if peer is None:
            text = "this credential leaves no ID to pick: name one"
            raise _auth_failed(message, text, objection=objections.NO_ID)
        holder = self._holder(peer)
        if holder is None:
            self._settle(link, peer, grant, message, now)
        elif self.access.open:
            self._probe(link, holder, message, now)
        else:
            self._take_over(link, holder, grant, message, now)

    def _holder(self, peer: str) -> Holder | None:
        """Return the holder of an ID, here or elsewhere."""
        link = self.ledger.registry.find(peer)
        return link if link is not None or self.elsewhere is None else self.elsewhere.holder(peer)

    def _renew(self, link: "Link", message: "Register", now: float) -> None:
        if message.id is not None and message.id != link.id:
            text = "this link has an ID already: close it to change"
            raise ProtocolError(ErrorCode.ALREADY_REGISTERED, text, ref=message.ref)
        if message.shows_credential:
            grant = self._judge(link, message, now)
            link.allow(grant, now)
            expire_with(link, now)
        self._welcome(link, message, now)
        link.watch()  # it may want to be asked sooner than before

    def _judge(self, link: "Link", message: "Register", now: float) -> "Grant":
        """The rights of the link, by the credential that it shows.

        Raises:
            ProtocolError: `auth-failed` or `auth-expired`.
        """
        peer = message.id if message.id is not None else link.id
        if self.access.open:
            grant = self.access.grant(None, peer)
        else:
            caller = link.caller()
            name = (_who(link, caller), peer or "")
            locked = self._failures.locked(name, now)
            # Nobody guesses at a certificate, or at who the kernel says that somebody is. Who is here already is looked
            # at: else those at its address who guess could have its link end. Its own guesses end it, and count.
            if locked and link.id is None and message.shows_credential:
                text, limit = "too many failures: wait", "auth_failures_per_minute"
                raise _auth_failed(message, text, locked, limit, objection=objections.LOCKED)
            grant = self._proved(message, caller, peer, now)
            if grant is None:
                self._failures.add(name, now, self.ledger.limits.auth_failures_per_minute, link.attempt)
        if grant is None:
            text = "nobody may have this ID" if self.access.open else "the credential is not accepted for this ID"
            objection = self.access.objection(message, link.caller(), peer, self.unix_time())
            raise _auth_failed(message, text, objection=objection)
        return grant

    def _proved(self, message: "Register", caller: "Caller | None", peer: str | None, now: float) -> "Grant | None":
        proof = self.access.prove(message, caller, self.unix_time())
        if proof is not None and end_of(proof.expires, self.ledger.wall, now) <= now:
            objection = objections.of_expiry(proof.expires, self.unix_time())
            objection = objection._replace(credential=" ".join(filter(None, proof.credential)))
            text = "the credential has expired"
            raise ProtocolError(ErrorCode.AUTH_EXPIRED, text, ref=message.ref, objection=objection)
        return self.access.grant(proof, peer)

    def _probe(self, link: "Link", holder: Holder, message: "Register", now: float) -> None:
        # Who is sent more than it can take would be asked too late: `stall_timeout_ms` finds out whether it lives.
        if holder.patient or holder.asked_late or holder.challenge is not None:
            raise _id_taken(message)
        self._count_takeover(holder, message, now)
        if message.meta is not UNSET:
            message.meta = message.meta.copy()  # else the whole frame would stay in memory
        claim = Claim(link, holder, message, now)
        link.claim = holder.challenge = claim
        link.held = True
        link.account()
        if link not in self.unregistered:  # a datagram's link is nowhere else yet: new rules have to find it
            self.unregistered.enter(link, link.origin, now)
            self.unregistered.begin(link, link.origin, now)
        holder.ping(now)
        link.watch()

    def _take_over(self, link: "Link", holder: Holder, grant: "Grant", message: "Register", now: float) -> None:
        assert holder.id is not None
        if holder.fingerprint != grant.fingerprint:
            raise _id_taken(message)
        self._count_takeover(holder, message, now)
        text = "another link with the same credential has taken the ID over"
        holder.refuse(ProtocolError(ErrorCode.REPLACED, text, by=link.address))
        self._settle(link, holder.id, grant, message, now)

    def _count_takeover(self, holder: Holder, message: "Register", now: float) -> None:
        assert holder.id is not None
        locked = self._takeovers.locked(holder.id, now)
        if locked:
            raise _id_taken(message, locked, "takeovers_per_minute")
        self._takeovers.add(holder.id, now, self.ledger.limits.takeovers_per_minute)

    def _settle(self, link: "Link", peer: str, grant: "Grant", message: "Register", now: float) -> None:
        self.ledger.registry.claim(peer, link)
        self.forget(link)
        link.id = peer
        link.begin_anew(grant, now)
        expire_with(link, now)
        self._welcome(link, message, now)
        link.last_seen = now
        # Not by `watch`: it was asked when it connected, and here it is known what comes first.
        silence = NEVER if link.patient else now + link.keepalive
        self.ledger.deadlines.watch(link, min(silence, link.expires_at, link.renews_at))
        link.admitted()

    def _welcome(self, link: "Link", message: "Register", now: float) -> None:
        if message.max_frame is not None:
            link.max_frame = _shared(min(message.max_frame, link.largest_frame))
        if message.keepalive_ms is not None:
            keepalive_ms = max(messages.MIN_KEEPALIVE_MS, min(message.keepalive_ms, messages.MAX_KEEPALIVE_MS))
            link.keepalive = _seconds(keepalive_ms)
        elif link.keepalive == NEVER:
            link.keepalive = _seconds(self.ledger.limits.keepalive_ms)
        if message.meta is not UNSET:
            link.meta = message.meta.copy()  # else the whole frame would stay in memory
        link.welcome(self.greeting(link, message.ref, now))

    def greeting(self, link: "Link", ref: str | None, now: float) -> said.Registered:
        """Return the `registered` for a link."""
        assert link.id is not None
        answer = said.Registered(
            ref=ref,
            id=link.id,
            server=SERVER,
            protocol=messages.PROTOCOL,
            features=self.ledger.features,
            keepalive_ms=round(link.keepalive * 1000),
            max_frame=link.largest_frame,
            expires_ms=None if link.expires_at == NEVER else max(0, round((link.expires_at - now) * 1000)),
        )
        if not self.vendor.empty:
            answer.ice_servers = self._vended(link, now)
            if len(messages.encode(answer)) > link.room_for_greeting:
                answer.ice_servers = None  # there is no room for them: they come when asked for
        return answer

    # -- claims that wait

    def sign_of_life(self, holder: Holder, now: float) -> None:
        """Refuse the claim that waits for this link, after all that came from it was acted on."""
        claim = holder.challenge
        if claim is not None:
            self._conclude(claim)
            claim.link.opened += now - claim.asked  # it has the rest of its time to register
            fault = _id_taken(claim.message)
            note_register(self.ledger, claim.link, claim.message.id, fault, now)
            claim.link.refuse(fault)

    def _conclude(self, claim: Claim) -> None:
        claim.holder.challenge = None
        claim.link.claim = None
        claim.link.account()
        claim.link.go_on()

    def release(self, link: "Link") -> None:
        """Free the ID of a link that ends, which a waiting claim gets at once, and a claim of its own."""
        if link.id is not None:
            self.ledger.registry.release(link.id, link)
        else:
            self.forget(link)
        if link.claim is not None:
            self._conclude(link.claim)
        self.concede(link)

    def concede(self, holder: Holder) -> None:
        """Give the ID of a holder that is gone to the claim that waits for it, if there is one."""
        claim = holder.challenge
        if claim is not None and holder.id is not None:
            self._conclude(claim)
            self._settle(claim.link, holder.id, self.access.stranger, claim.message, claim.asked)

    # -- STUN and TURN servers

    def ice_servers(self, link: "Link", message: "Request | None", now: float) -> None:
        """Tell a peer of the servers that there are, with fresh credentials.

        Args:
            link: the peer's.
            message: its request; None: there is none, the old ones are about to expire.
            now: seconds.

        Raises:
            ProtocolError: `too-large` for its `maxFrame`.
        """
        ttl_seconds = self.vendor.ttl_seconds
        ref = None if message is None else message.ref
        answer = said.IceServerList(
            ref=ref,
            ice_servers=self._vended(link, now),
            expires_ms=None if ttl_seconds == NEVER else round(ttl_seconds * 1000),
        )
        if len(messages.encode(answer)) > link.max_frame:
            raise ProtocolError(ErrorCode.TOO_LARGE, "the answer would be above your `maxFrame`", ref=ref)
        link.reply(answer)
        link.watch()

    def _vended(self, link: "Link", now: float) -> list[IceServer]:
        assert link.id is not None
        link.renews_at = now + self.vendor.ttl_seconds - RENEW_SECONDS
        return self.vendor.for_peer(link.id, self.unix_time())

    # -- new rules

    def change(self, access: "Access", vendor: Vendor, now: float) -> "Iterator[bool]":
        """Apply new rules, link by link; yield for each whether it ends, its credential being gone.

        From the first step on the rules hold for links that register; each that is here has the old ones until its own
        step. So thousands of links are judged between messages of others.

        Args:
            access: the rules.
            vendor: of STUN and TURN servers; another one than before has news for every peer.
            now: seconds.
        """
        has_news = vendor is not self.vendor
        self.access, self.vendor = access, vendor
        self.ledger.stranger = access.stranger
        self.origins.trust(self.ledger.limits.trusted)
        renewals = Renewals(now)
        for link in list(self.unregistered):
            link.allow(access.stranger, now)
            link.watch()
            if link.claim is not None and access.grant(None, link.claim.holder.id) is None:
                self.sign_of_life(link.claim.holder, now)
        for link in list(self.ledger.registry.holders.values()):
            if link.closing:
                continue
            ends = not self._judge_again(link, now)
            if not ends:
                if has_news:
                    link.renews_at = renewals.next()
                link.watch()
            yield ends

    def would_end(self, access: "Access") -> list[str]:
        """Return the IDs whose links these rules would end, their credentials being gone."""
        links = self.ledger.registry.holders.values()
        return [link.id for link in links if link.id and access.grant(link.grant.proof, link.id) is None]

    def _judge_again(self, link: "Link", now: float) -> bool:
        """Apply new rules to a registered peer; return whether it may stay."""
        grant = self.access.grant(link.grant.proof, link.id)
        if grant is None:
            link.refuse(ProtocolError(ErrorCode.AUTH_FAILED, "the credential is not accepted any more"))
            return False
        link.allow(grant, now)
        expire_with(link, now)
        return True

    # -- handing over

    def refuse_claims(self, now: float) -> None:
        """Refuse every claim that waits, as if its holder had given a sign of life: its client may ask again."""
        for link in list(self.unregistered):
            if link.claim is not None:
                self.sign_of_life(link.claim.holder, now)

    def take_up(self, link: "Link", now: float) -> bool:
        """Continue a link of another process; its credential is judged by the rules in force.

        Args:
            link: as it was there, with its outbox.
            now: seconds.

        Returns:
            Whether it may go on.

        Raises:
            ValueError: somebody holds its ID.
        """
        if not link.closing and link.id is None:
            self.unregistered.enter(link, link.origin, now)
            if link.framing.name:
                self.unregistered.begin(link, link.origin, now)
            link.allow(self.access.stranger, now)
        elif not link.closing and link.id is not None:
            if self.ledger.registry.find(link.id) is not None:
                raise ValueError("an ID has one holder")
            self.ledger.registry.claim(link.id, link)
            if not self._judge_again(link, now):
                return False
        link.watch()
        return True

    @property
    def strikes(self) -> StrikesState:
        """Recent strikes for failed credentials and takeovers."""
        return StrikesState(self._failures.state, self._takeovers.state)

    def restore_strikes(self, state: StrikesState, shift: float) -> None:
        """Take over the state of another process, whose clock shows `shift` seconds less.

        Raises:
            ValueError: there is no such state.
        """
        self._failures.restore(state.failures, shift)
        self._takeovers.restore(state.takeovers, shift)


def _who(link: "Link", caller: "Caller | None") -> str:
    """Whose failures are counted together: on a Unix socket all have one address, and each its user."""
    return link.origin.key if caller is None or caller.uid is None else f"uid {caller.uid}"


def _id_taken(message: "Register", locked: float = 0.0, limit: str | None = None) -> ProtocolError:
    text = "somebody else holds this ID" if limit is None else "this ID has changed hands too often: wait"
    return ProtocolError(ErrorCode.ID_TAKEN, text, ref=message.ref, retry_after_ms=_milliseconds(locked), limit=limit)


def _auth_failed(
    message: "Register",
    text: str,
    locked: float = 0.0,
    limit: str | None = None,
    *,
    objection: Objection | None = None,
) -> ProtocolError:
    retry_after_ms = _milliseconds(locked)
    return ProtocolError(
        ErrorCode.AUTH_FAILED,
        text,
        ref=message.ref,
        retry_after_ms=retry_after_ms,
        limit=limit,
        objection=objection,
    )


@functools.lru_cache(maxsize=256)
def _seconds(milliseconds: int) -> float:
    # One number for all links that have the same keepalive.
    return milliseconds / 1000


@functools.lru_cache(maxsize=256)
def _shared(number: int) -> int:
    # The same: each message brings an object of its own.
    return number


def _milliseconds(seconds: float) -> int | None:
    return math.ceil(seconds * 1000) or None
