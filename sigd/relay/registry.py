"""Peer IDs and the links that hold them."""

from typing import Final, Generic, TypeVar

from sigd.relay.sorted_ids import SortedIds
from sigd.relay.transport import Transport
from sigd.wire.said import PeerEntry

MAX_LISTED: Final = 100
"""Peers in one answer: with full IDs and no `meta` that is 8 KiB, which a small client can still take."""


AnyLink = TypeVar("AnyLink", bound=Transport)


class Registry(Generic[AnyLink]):
    """Registered IDs and their holders. An ID has one holder."""

    __slots__ = ("_sorted", "holders")

    def __init__(self) -> None:
        self.holders: dict[str, AnyLink] = {}
        self._sorted = SortedIds()

    def __len__(self) -> int:
        return len(self.holders)

    def find(self, peer: str) -> AnyLink | None:
        """The link that holds an ID."""
        return self.holders.get(peer)

    def claim(self, peer: str, link: AnyLink) -> None:
        """Give an ID to a link, and take it from any former holder."""
        if peer not in self.holders:
            self._sorted.add(peer)
        self.holders[peer] = link

    def release(self, peer: str, link: AnyLink) -> bool:
        """Free an ID if this very link holds it: the late end of an old link frees nothing of its successor's."""
        if self.holders.get(peer) is not link:
            return False
        del self.holders[peer]
        self._sorted.remove(peer)
        return True

    def listed(self, prefix: str, after: str) -> tuple[list[PeerEntry], bool]:
        """The first peers in byte order behind `after` whose IDs begin with `prefix`, and whether there are more."""
        begins_behind = after >= prefix
        found: list[PeerEntry] = []
        for peer in self._sorted.after(after if begins_behind else prefix, included=not begins_behind):
            if not peer.startswith(prefix):
                break
            if len(found) == MAX_LISTED:
                return found, True
            meta = self.holders[peer].meta
            found.append(PeerEntry(peer) if meta is None else PeerEntry(peer, meta))
        return found, False
