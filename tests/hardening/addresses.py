"""Row 49: one subscriber under many addresses, which a proxy tells of."""

import json
from typing import Any

from tests.hardening.credentials import CAMERAS, auth
from tests.hardening.identities import FAILURES, NO, WRONG
from tests.hardening.scene import Scene, alert_at_most, attack, last_words
from tests.in_process import WITH_LENGTH, error


def proxied(address: str) -> bytes:
    """What a proxy says of a connection from there."""
    kind, own = ("TCP6", "2001:db8::1") if ":" in address else ("TCP4", "192.0.2.1")
    return f"PROXY {kind} {address} {own} 40000 7337\r\n".encode()


PROXY = "127.0.0.2"

SAME: list[tuple[str, ...]] = [
    ("192.0.2.7", "::ffff:192.0.2.7", "::ffff:c000:207", "192.0.2.7"),
    ("2001:db8:1:2::1", "2001:db8:1:2:ffff::7", "2001:DB8:1:2:3:4:5:6", "2001:db8:1:2::1"),
]
"""Addresses that one subscriber may have."""


@attack("one subscriber with many addresses", *WITH_LENGTH, limits={"trusted": (f"{PROXY}/32",), "max_per_address": 3})
async def many_addresses(scene: Scene) -> None:
    for same in SAME:
        peers = [await scene.behind(proxied(address), PROXY) for address in same[:3]]
        for number, peer in enumerate(peers):
            await peer.registers(f"mallory-{number}-{len(same[0])}")
        assert await _refused(scene, same[3])
    for other in ("192.0.2.8", "2001:db8:1:3::1"):
        await (await scene.behind(proxied(other), PROXY)).is_served()


async def _refused(scene: Scene, address: str) -> bool:
    if scene.framing == "tls":
        try:
            await scene.behind(proxied(address), PROXY)
        except ConnectionResetError:
            return True
        return False
    stranger = await scene.behind(proxied(address), PROXY)
    return bool(json.loads(await stranger.hears_bytes()) == error("server-full"))


@attack(
    "unregistered ones under many addresses",
    limits={"trusted": (f"{PROXY}/32",), "max_unregistered_per_address": 4},
)
async def many_strangers(scene: Scene) -> None:
    """Those that have begun stay, and the newcomer goes."""
    for same in SAME:
        strangers = []
        for address in same:
            strangers.append(await scene.behind(proxied(address), PROXY))
            await strangers[-1].is_served()
        late = await scene.behind(proxied(same[1]), PROXY)
        assert json.loads(await late.hears_bytes()) == error("server-full")
        for each in strangers:
            await each.is_served()


@attack(
    "guesses under many addresses",
    auth=auth,
    limits={"trusted": (f"{PROXY}/32",), "auth_failures_per_minute": 3},
    warnings=FAILURES,
)
async def guesses_from_everywhere(scene: Scene) -> None:
    async def guess(address: str, token: str) -> dict[str, Any]:
        stranger = await scene.behind(proxied(address), PROXY)
        await stranger.says({"type": "register", "id": "cam1", "token": token})
        return await last_words(stranger)

    for same in SAME:
        for address in same[:3]:
            assert await guess(address, WRONG["token"]) == NO
        assert (await guess(same[3], CAMERAS))["retryAfterMs"] > 0
    await (await scene.behind(proxied("192.0.2.8"), PROXY)).registers("cam1", token=CAMERAS)


@attack("a proxy's word from whom nobody trusts", *WITH_LENGTH)
async def untrusted_proxy(scene: Scene) -> None:
    if scene.framing == "tls":
        assert await alert_at_most(await scene.unencrypted(proxied("192.0.2.7")))
    else:
        stranger = await scene.behind(proxied("192.0.2.7"), "127.0.0.1")
        assert json.loads(await stranger.hears_bytes()) == error("bad-frame")
