"""Rows 16 to 21 and 28: who somebody says to be, for how long, and how often one may try."""

import base64
import json
import time
from typing import Any

import trio

from sigd.config import Auth, JwtEntry, Limits
from sigd.relay.strikes import LOCK_SECONDS, STRIKES_KEPT, Strikes
from tests.hardening.credentials import CAMERAS, OTHER_SECRET, RECORDERS, auth, expiring, secret_file
from tests.hardening.scene import QUIET, Scene, attack, last_words
from tests.in_process import error, unix_time, within

DEFAULTS = Limits()

GUESSES = {"auth_failures_per_minute": DEFAULTS.auth_failures_per_minute}
ANY_GUESSES = {"auth_failures_per_minute": 0}

FAILURES = ("auth-failed",)
"""What the log says of them."""

WRONG = {"token": "wrong-as-a-token-that-was-guessed"}

NO = error("auth-failed", reconnect=False)


async def tries(scene: Scene, peer: str, **shown: object) -> dict[str, Any]:
    """What a newcomer hears last that wants to be this peer and shows this."""
    stranger = await scene.stranger()
    await stranger.says({"type": "register", "id": peer, **shown})
    return await last_words(stranger)


# -- row 16


@attack("tokens guessed", auth=auth, limits=GUESSES, warnings=FAILURES)
async def guesses(scene: Scene) -> None:
    """The sixth is not even looked at, if it is the right one; that concerns one ID from one address, for 30 s."""
    for _ in range(5):
        assert await tries(scene, "cam1", **WRONG) == NO
    locked = await tries(scene, "cam1", token=CAMERAS)
    assert 0 < locked.pop("retryAfterMs") <= LOCK_SECONDS * 1_000
    assert locked == error("auth-failed")
    await (await scene.stranger("127.0.0.2")).registers("cam1", token=CAMERAS)
    await (await scene.stranger()).registers("cam2", token=CAMERAS)
    await trio.sleep(LOCK_SECONDS)
    camera = await scene.stranger("127.0.0.3")
    await camera.registers("cam3", token=CAMERAS)
    for _ in range(4):
        assert await tries(scene, "cam3", **WRONG) == NO
    await (await scene.stranger()).registers("cam1", token=CAMERAS)
    await camera.is_served()


@attack("guesses without an ID", auth=auth, limits=GUESSES, warnings=FAILURES)
async def guesses_without_id(scene: Scene) -> None:
    for _ in range(5):
        stranger = await scene.stranger()
        await stranger.says({"type": "register", **WRONG})
        assert await last_words(stranger) == NO
    stranger = await scene.stranger()
    await stranger.says({"type": "register", "token": CAMERAS})
    assert (await last_words(stranger))["retryAfterMs"] > 0
    await (await scene.stranger()).registers("cam1", token=CAMERAS)


@attack("guesses at what a registered peer shows next", auth=auth, limits=GUESSES, warnings=FAILURES)
async def guesses_at_renewal(scene: Scene) -> None:
    """Who has registered may guess no better: each wrong one ends the link."""
    for _ in range(5):
        camera = await scene.stranger()
        await camera.registers("cam1", token=CAMERAS)
        await camera.says({"type": "register", "id": "cam1", **WRONG})
        assert await last_words(camera) == NO
    assert (await tries(scene, "cam1", token=CAMERAS))["retryAfterMs"] > 0


@attack("guesses to have somebody's renewal refused", auth=auth, limits=GUESSES, warnings=FAILURES)
async def guesses_beside_renewal(scene: Scene) -> None:
    """Who is here and shows the right thing is not locked out by others at its address."""
    camera = await scene.stranger()
    await camera.registers("cam1", keepaliveMs=QUIET, **expiring("cam1", 60))
    for _ in range(6):
        assert (await tries(scene, "cam1", **WRONG))["code"] == "auth-failed"
    await camera.registers("cam1", **expiring("cam1", 300))
    await trio.sleep(120)
    await camera.is_served()


@attack("more names than the table of failures holds", auth=auth, limits=GUESSES, warnings=FAILURES)
async def many_names(scene: Scene) -> None:
    """The table is of a fixed size; what it forgets first is the oldest."""
    strikes = Strikes[int]()
    for name in range(3 * STRIKES_KEPT):
        strikes.add(name, 0.0, 5)
    assert len(strikes) == STRIKES_KEPT
    for number in range(50):
        assert await tries(scene, f"cam{number}", **WRONG) == NO
    await (await scene.stranger()).registers("cam1", token=CAMERAS)


# -- row 17


def jwt(header: object, claims: object, signature: bytes = b"x" * 32) -> str:
    """What looks like a JSON Web Token."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (header, claims, signature)]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


CLAIMS = {"sub": "cam1", "iss": "issuer", "aud": "sigd", "exp": 4_000_000_000}

STRANGE: list[dict[str, object]] = [
    {"token": "é"},
    {"token": ""},
    {"token": "x" * 3_000},
    {"token": CAMERAS[:-1]},
    {"token": CAMERAS + "\n"},
    {"token": CAMERAS.upper()},
    {"user": "", "token": ""},
    {"user": "é", "token": "é"},
    {"user": "4000000000:cam1"},
    {"user": "4000000000:cam1", "token": CAMERAS},
    {"user": "4000000000:cam1\n", "token": CAMERAS},
    {"user": "9" * 2_000 + ":cam1", "token": ""},
    {"user": "-1:cam1", "token": "AAAA"},
    {"user": "nan:cam1", "token": "="},
    {"user": "4000000000:" + "*" * 2_000, "token": "x"},
    {"jwt": ""},
    {"jwt": "."},
    {"jwt": "é.é.é"},
    {"jwt": "a.b.c.d.e"},
    {"jwt": jwt({"alg": "none"}, CLAIMS, b"")},
    {"jwt": jwt({"alg": "None", "typ": "JWT"}, CLAIMS, b"")},
    {"jwt": jwt({"alg": "HS256"}, CLAIMS)},
    {"jwt": jwt({"alg": "EdDSA"}, CLAIMS)},
    {"jwt": jwt({"alg": ["HS256"]}, CLAIMS)},
    {"jwt": jwt({"alg": {}}, CLAIMS)},
    {"jwt": jwt({"alg": "HS256", "crit": ["b64"], "b64": False}, CLAIMS)},
    {"jwt": jwt({"alg": "HS256", "kid": ["x"]}, CLAIMS)},
    {"jwt": jwt(b"[" * 1_500, CLAIMS)},
    {"jwt": jwt([], [])},
    {"jwt": jwt({"alg": "HS256"}, b"[" * 1_500)},
    {"jwt": jwt({"alg": "HS256"}, b"\xff")},
]
"""What is no credential, and has brought some server down, or in."""


def auth_of_all() -> Auth:
    """Every credential that is a member of `register`."""
    own = auth()
    key = secret_file("jwt", "k" * 32)
    return Auth(token=own.token, hmac=own.hmac, jwt=(JwtEntry("HS256", key, "issuer", "sigd"),))


@attack("credentials that are none", auth=auth_of_all, limits=ANY_GUESSES, warnings=FAILURES)
async def strange_credentials(scene: Scene) -> None:
    for shown in STRANGE:
        assert await tries(scene, "cam1", **shown) == NO, shown
    others: list[dict[str, object]] = [
        {"token": 1},
        {"token": []},
        {"user": {}},
        {"user": 5, "token": ""},
        {"jwt": True},
    ]
    for shown in others:
        stranger = await scene.stranger()
        await stranger.says({"type": "register", "id": "cam1", **shown})
        assert await stranger.hears() == error("bad-message"), shown


@attack(
    "claims that are none, in a token that is signed",
    auth=auth_of_all,
    limits=ANY_GUESSES,
    warnings=FAILURES,
)
async def strange_claims(scene: Scene) -> None:
    import jwt as pyjwt

    def signed(**claims: object) -> dict[str, object]:
        given = {key: value for key, value in {**CLAIMS, **claims}.items() if value is not None}
        return {"jwt": pyjwt.encode(given, "k" * 32, "HS256")}

    await (await scene.stranger()).registers("cam1", **signed())
    strange: list[dict[str, object]] = [
        {"exp": None},
        {"exp": "4000000000"},
        {"exp": True},
        {"exp": [4_000_000_000]},
        {"nbf": time.time() + 60},
        {"nbf": {}},
        {"sub": None},
        {"sub": "bob"},
        {"sub": "cam1 bob"},
        {"sub": "x" * 100},
        {"iss": "somebody"},
        {"iss": None},
        {"aud": "another"},
        {"aud": []},
        {"aud": None},
    ]
    for claims in strange:
        try:
            shown = signed(**claims)
        except TypeError:  # nor does PyJWT write it
            continue
        assert await tries(scene, "cam1", **shown) == NO, claims


# -- row 18


@attack("a token after it has expired", auth=auth, warnings=("auth-expired",))
async def expired_token(scene: Scene) -> None:
    """Clocks may differ by 30 s. Whoever comes within those is told how much of them is left, and goes then."""
    gone = await tries(scene, "cam1", **expiring("cam1", -31, now=unix_time()))
    assert gone == error("auth-expired")
    camera = await scene.stranger()
    began = trio.current_time()
    answer = await camera.registers("cam1", keepaliveMs=QUIET, **expiring("cam*", -27, now=unix_time()))
    assert 1_000 < answer["expiresMs"] <= 3_000
    assert await camera.hears_all() == [error("auth-expired")]
    assert within(trio.current_time() - began, answer["expiresMs"] / 1_000)
    assert await tries(scene, "cam1", **expiring("cam1", -31, now=unix_time())) == gone


@attack("a token that was made for longer, or for more", auth=auth, limits=ANY_GUESSES, warnings=FAILURES)
async def prolonged_token(scene: Scene) -> None:
    shown = expiring("cam1", -40)
    expiry, _, glob = shown["user"].partition(":")
    for user in (f"{int(expiry) + 3_600}:{glob}", f"4{expiry}:{glob}", f"0{expiry}:{glob}", f"4000000000:{glob}"):
        assert await tries(scene, "cam1", user=user, token=shown["token"]) == NO


@attack("a token renewed, and the old one shown again", auth=auth)
async def renewed_token(scene: Scene) -> None:
    """The link lives as long as what it has shown last, be that shorter."""
    camera = await scene.stranger()
    await camera.registers("cam1", keepaliveMs=QUIET, **expiring("cam1", 60, now=unix_time()))
    await trio.sleep(50)
    longer = await camera.registers("cam1", **expiring("cam1", 300, now=unix_time()))
    await trio.sleep(100)
    await camera.is_served()
    began = trio.current_time()
    shorter = await camera.registers("cam1", **expiring("cam1", 60, now=unix_time()))
    assert shorter["expiresMs"] < longer["expiresMs"]
    assert await camera.hears_all() == [error("auth-expired")]
    assert within(trio.current_time() - began, shorter["expiresMs"] / 1_000)


# -- row 19


@attack("a token of another ID", auth=auth, limits=ANY_GUESSES, warnings=FAILURES)
async def token_of_another(scene: Scene) -> None:
    own = expiring("mallory")
    forged = {**own, "user": own["user"].replace("mallory", "alice")}
    for shown in (
        own,
        forged,
        {"token": CAMERAS},
        {"user": own["user"], "token": CAMERAS},
        {**own, "user": own["user"] + ":*"},
        {**own, "user": own["user"].replace("mallory", "*")},
        expiring("alice", secret=OTHER_SECRET),
        expiring("Alice"),
        expiring("alic"),
        expiring("alice*x"),
    ):
        assert await tries(scene, "alice", **shown) == NO, shown
    mallory = await scene.stranger()
    await mallory.registers("mallory", **own)
    await mallory.says({"type": "register", "id": "alice", **own})
    assert (await mallory.hears())["code"] == "already-registered"


@attack("a message to whom the token does not name", auth=auth)
async def recipient_of_another(scene: Scene) -> None:
    mallory = await scene.stranger()
    await mallory.registers("mallory", **expiring("mallory", talk="rec*"))
    await mallory.says({"type": "offer", "to": "alice", "sdp": "EVIL", "ref": "1"})
    assert await mallory.hears() == error("forbidden", ref="1", to="alice")


# -- row 20


@attack("an ID that somebody holds, with another credential", auth=auth)
async def hijack(scene: Scene) -> None:
    camera = await scene.stranger()
    await camera.registers("cam1", token=CAMERAS)
    for shown in ({"token": RECORDERS}, expiring("cam1"), expiring("cam*")):
        mallory = await scene.stranger()
        await mallory.says({"type": "register", "id": "cam1", "ref": "1", **shown})
        assert await mallory.hears() == error("id-taken", ref="1")
        await camera.hears_nothing()
        other = await scene.daemon.connect()
        await other.registers("rec1", token=RECORDERS)
        await other.says({"type": "bye", "to": "cam1"})
        assert await camera.hears() == {"type": "bye", "from": "rec1"}
        other.leaves()
        await scene.daemon.settles()


@attack("an ID that somebody holds, with the same credential", auth=auth)
async def take_over(scene: Scene) -> None:
    """The newcomer has it at once, and the late end of the old link frees nothing."""
    for shown in ({"token": CAMERAS}, expiring("cam1")):
        old, new = await scene.stranger(), await scene.stranger()
        await old.registers("cam1", **shown)
        await new.registers("cam1", **shown)
        assert await old.hears_all() == [error("replaced", reconnect=False)]
        old.leaves()
        await scene.daemon.settles()
        await new.is_served()
        other = await scene.daemon.connect()
        await other.registers("rec1", token=RECORDERS)
        await other.says({"type": "bye", "to": "cam1"})
        assert await new.hears() == {"type": "bye", "from": "rec1"}
        other.leaves()
        new.leaves()
        await scene.daemon.settles()


@attack("an ID that somebody holds, where there are no credentials")
async def squatting(scene: Scene) -> None:
    """Who holds it is asked, and keeps it with any sign of life; who is silent for 3 s has lost it."""
    victim, mallory = await scene.daemon.peer("victim"), await scene.stranger()
    claim = {"type": "register", "id": "victim", "ref": "1"}
    await mallory.says(claim)
    assert await victim.hears() == {"type": "ping"}
    await victim.says({"type": "pong"})
    assert await mallory.hears() == error("id-taken", ref="1")
    await mallory.says(claim)
    began = trio.current_time()
    assert (await mallory.hears())["id"] == "victim"
    assert within(trio.current_time() - began, 3)
    assert await victim.hears_all() == [{"type": "ping"}, error("idle-timeout")]
    person = await scene.daemon.peer("person", "lines")
    other = await scene.stranger()
    await other.says({**claim, "id": "person"})
    assert await other.hears() == error("id-taken", ref="1")
    await person.hears_nothing()


# -- row 21

TAKEOVERS = {"takeovers_per_minute": DEFAULTS.takeovers_per_minute}


@attack("two that take an ID from each other", auth=auth, limits=TAKEOVERS)
async def ping_pong(scene: Scene) -> None:
    """Five times in a minute, then whoever has it keeps it for half of one; another ID is nobody's business."""
    holder = await scene.stranger()
    await holder.registers("cam1", token=CAMERAS)
    for _ in range(5):
        newcomer = await scene.stranger()
        await newcomer.registers("cam1", token=CAMERAS)
        assert await holder.hears_all() == [error("replaced", reconnect=False)]
        holder = newcomer
    for _ in range(5):
        newcomer = await scene.stranger()
        await newcomer.says({"type": "register", "id": "cam1", "token": CAMERAS})
        answer = await newcomer.hears()
        assert 0 < answer.pop("retryAfterMs") <= LOCK_SECONDS * 1_000
        assert answer == error("id-taken")
    await holder.is_served()
    for _ in range(2):
        await (await scene.stranger()).registers("cam2", token=CAMERAS)
    await trio.sleep(LOCK_SECONDS)
    await (await scene.stranger()).registers("cam1", token=CAMERAS)


@attack("a holder who is asked again and again", limits=TAKEOVERS)
async def many_probes(scene: Scene) -> None:
    victim, mallory = await scene.daemon.peer("victim", keepaliveMs=QUIET), await scene.stranger()
    for _ in range(5):
        await mallory.says({"type": "register", "id": "victim"})
        assert await victim.hears() == {"type": "ping"}
        await victim.says({"type": "pong"})
        assert await mallory.hears() == error("id-taken")
    for _ in range(5):
        await mallory.says({"type": "register", "id": "victim"})
        answer = await mallory.hears()
        assert 0 < answer.pop("retryAfterMs") <= LOCK_SECONDS * 1_000
        assert answer == error("id-taken")
    await victim.hears_nothing()


# -- row 28

MISSES = {"misses_per_minute": DEFAULTS.misses_per_minute}


@attack("a thousand IDs tried", limits=MISSES)
async def enumeration(scene: Scene) -> None:
    """What comes says nothing but that nobody is there, and soon not even that."""
    mallory = await scene.mallory()
    answers: list[bytes] = []
    for number in range(1_000):
        await mallory.says({"type": "bye", "to": f"peer-{number:03}"})
        answers.append(await mallory.hears_frame())
        if number % 100 == 0:
            await mallory.says({"type": "message", "to": "bob", "data": number})
            assert await scene.bob.hears() == {"type": "message", "from": "mallory", "data": number}
    absent, limited = answers[:60], answers[60:]
    assert [json.loads(each) for each in absent] == [
        error("peer-unavailable", to=f"peer-{number:03}") for number in range(60)
    ]
    assert len({len(each) for each in absent}) == 1
    for number, each in enumerate(limited, 60):
        answer = json.loads(each)
        assert 0 < answer.pop("retryAfterMs") <= 1_000
        assert answer == error("rate-limited", to=f"peer-{number:03}")
    await trio.sleep(60)
    await mallory.says({"type": "bye", "to": "peer-000"})
    assert await mallory.hears() == error("peer-unavailable", to="peer-000")


@attack("who is there among those who are forbidden", auth=auth)
async def forbidden(scene: Scene) -> None:
    """Decided before anything is looked up: all bytes but the ID's are the same, whether or not it is there."""
    camera = await scene.stranger()
    await camera.registers("cam1", token=CAMERAS)
    heard = []
    for peer in ("alice", "alicf"):
        await camera.says({"type": "bye", "to": peer})
        heard.append(await camera.hears_frame())
    assert heard[1] == heard[0].replace(b"alice", b"alicf")
    assert json.loads(heard[0]) == error("forbidden", to="alice")


@attack("a list of who is there", auth=auth)
async def listing(scene: Scene) -> None:
    camera = await scene.stranger()
    await camera.says({"type": "peers", "ref": "1"})
    assert await camera.hears() == error("not-registered", ref="1")
    await camera.registers("cam1", token=CAMERAS)
    await camera.says({"type": "peers", "ref": "1"})
    assert await camera.hears() == error("forbidden", ref="1")
