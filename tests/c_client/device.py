"""A device: the C client in this process, its socket and its clock being the test's."""

import ctypes
from ctypes import CFUNCTYPE, c_char, c_char_p, c_int, c_int32, c_long, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

TYPES: Final = (
    *("offer", "answer", "candidate", "bye", "message", "iceServers", "registered", "ok", "error", "goingAway", "ping"),
    *("sent", "unsent"),
)
STATES: Final = ("ended", "waiting", "connecting", "registering", "registered", "leaving")

FOREVER: Final = 0xFFFF_FFFF

_SEND: Final = CFUNCTYPE(c_int32, c_void_p, c_size_t)
_RANDOM: Final = CFUNCTYPE(c_uint32)
_HEARD: Final = CFUNCTYPE(
    None, c_int, c_int, c_uint32, c_char_p, c_char_p, c_void_p, c_size_t, c_char_p, c_uint32, c_uint32
)


class Received(NamedTuple):
    """What the device's program was told."""

    type: str
    ref: int = 0
    peer: str | None = None
    session: str | None = None
    body: str | None = None
    code: str | None = None
    wait_ms: int = 0
    expires_ms: int = 0


class Library:
    """The client as a shared library."""

    def __init__(self, path: Path) -> None:
        self._dll = ctypes.CDLL(str(path))
        signatures: tuple[tuple[Any, ...], ...] = (
            ("device_new", c_void_p, *[c_char_p] * 5, c_uint32, c_int, c_uint32, _SEND, _RANDOM, _HEARD),
            ("device_free", None, c_void_p),
            ("device_start", None, c_void_p, c_uint32),
            ("device_connected", None, c_void_p, c_uint32),
            ("device_lost", None, c_void_p, c_uint32),
            ("device_unregister", None, c_void_p, c_uint32),
            ("device_poll", c_uint32, c_void_p, c_uint32),
            ("device_state", c_int, c_void_p),
            ("device_why", c_char_p, c_void_p),
            ("device_id", c_char_p, c_void_p),
            ("device_is_ready", c_int, c_void_p),
            ("device_is_stuck", c_int, c_void_p),
            ("device_pieces", c_uint32, c_void_p),
            ("device_head", c_uint32, c_void_p),
            ("device_renew", None, c_void_p, c_char_p, c_char_p),
            ("device_feed", None, c_void_p, c_char_p, c_size_t, c_uint32),
            ("device_offer", c_int32, c_void_p, *[c_char_p] * 3),
            ("device_candidate", c_int32, c_void_p, *[c_char_p] * 4),
            ("device_end_of_candidates", c_int32, c_void_p, *[c_char_p] * 2),
            ("device_bye", c_int32, c_void_p, *[c_char_p] * 3),
            ("device_message", c_int32, c_void_p, *[c_char_p] * 3),
            ("device_ask_ice_servers", c_int32, c_void_p),
            ("find", c_long, c_char_p, c_size_t, c_char_p, ctypes.POINTER(c_size_t)),
            ("unescape", c_long, c_char_p, c_size_t),
            ("escape", c_size_t, c_char, c_char_p),
            ("mac", None, c_char_p, c_size_t, c_char_p, c_char_p, c_size_t, c_char_p),
            ("hmac", None, c_char_p, c_size_t, c_char_p, c_size_t, c_char_p),
        )
        for name, result, *arguments in signatures:
            function = getattr(self._dll, name)
            function.restype = result
            function.argtypes = arguments

    def __getattr__(self, name: str) -> Any:
        return getattr(self._dll, name)

    def find(self, json: bytes, name: bytes) -> bytes | None:
        """The value of a member as it stands."""
        size = c_size_t()
        buffer = ctypes.create_string_buffer(json, len(json))
        at: int = self._dll.find(ctypes.cast(buffer, c_char_p), len(json), name, ctypes.byref(size))
        return None if at < 0 else json[at : at + size.value]

    def unescape(self, string: bytes) -> bytes | None:
        """The text of a JSON string, in its quotes."""
        buffer = ctypes.create_string_buffer(string, len(string))
        size: int = self._dll.unescape(ctypes.cast(buffer, c_char_p), len(string))
        assert size < 0 or buffer.raw[1 + size] == 0
        return None if size < 0 else buffer.raw[1 : 1 + size]

    def escape(self, text: bytes) -> bytes:
        """The text as it goes out between quotes."""
        out = ctypes.create_string_buffer(6)
        escaped = b""
        for byte in text:
            size = self._dll.escape(bytes([byte]), ctypes.cast(out, c_char_p))
            escaped += out.raw[:size]
        return escaped

    def mac(self, key: bytes, direction: bytes, text: bytes) -> bytes:
        """The mac of a datagram."""
        out = ctypes.create_string_buffer(32)
        self._dll.mac(key, len(key), direction, text, len(text), ctypes.cast(out, c_char_p))
        return out.raw

    def hmac(self, key: bytes, text: bytes) -> bytes:
        """HMAC-SHA256."""
        out = ctypes.create_string_buffer(32)
        self._dll.hmac(key, len(key), text, len(text), ctypes.cast(out, c_char_p))
        return out.raw


class Device:
    """A device.

    Attributes:
        now: the time on its clock, in milliseconds.
        sent: what it has sent: datagrams, or pieces of a stream.
        heard: what its program was told.
        takes: bytes that its socket takes at once; -1: the connection is broken.
        draws: its random numbers.
        on_heard: called with each message, while it is being told.
    """

    def __init__(
        self,
        library: Library,
        peer: str | None = "cam1",
        *,
        udp: bool = False,
        user: str | None = None,
        token: str | None = None,
        jwt: str | None = None,
        meta: str | None = None,
        keepalive_ms: int = 0,
        buffer_size: int = 4096,
        now: int = 1_000_000,
    ) -> None:
        self.now = now
        self.sent: list[bytes] = []
        self.heard: list[Received] = []
        self.takes = 1 << 30
        self.draws: Callable[[], int] = lambda: 0
        self.on_heard: Callable[[Received], object] = lambda received: None
        self._library = library
        # What C holds, and Python must not collect.
        self._texts: list[bytes] = []
        self._functions = _SEND(self._send), _RANDOM(lambda: self.draws()), _HEARD(self._hear)
        texts = [self._kept(text) for text in (peer, user, token, jwt, meta)]
        self._it = library.device_new(*texts, keepalive_ms, udp, buffer_size, *self._functions)

    def close(self) -> None:
        """Give its memory back."""
        self._library.device_free(self._it)

    def _kept(self, text: str | None) -> bytes | None:
        if text is None:
            return None
        self._texts.append(text.encode())
        return self._texts[-1]

    def _send(self, data: int, size: int) -> int:
        taken = min(self.takes, size)
        if taken > 0:
            self.sent.append(ctypes.string_at(data, taken))
        return taken

    def _hear(self, *told: Any) -> None:
        kind, _, ref, peer, session, body, size, code, wait_ms, expires_ms = told
        received = Received(
            TYPES[kind],
            ref,
            peer and peer.decode(),
            session and session.decode(),
            ctypes.string_at(body, size).decode() if body else None,
            code and code.decode(),
            wait_ms,
            expires_ms,
        )
        self.heard.append(received)
        self.on_heard(received)

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: str | None) -> Any:
            return getattr(self._library, f"device_{name}")(self._it, *map(self._kept, arguments))

        return call

    @property
    def state(self) -> str:
        """What it is about."""
        return STATES[self._library.device_state(self._it)]

    @property
    def why(self) -> str:
        """Why the last link ended."""
        why: bytes = self._library.device_why(self._it)
        return why.decode()

    @property
    def id(self) -> str:
        """Its peer ID."""
        peer: bytes = self._library.device_id(self._it)
        return peer.decode()

    def start(self) -> None:
        self._library.device_start(self._it, self.now & FOREVER)

    def connected(self) -> None:
        self._library.device_connected(self._it, self.now & FOREVER)

    def lost(self) -> None:
        self._library.device_lost(self._it, self.now & FOREVER)

    def unregister(self) -> None:
        self._library.device_unregister(self._it, self.now & FOREVER)

    def feed(self, data: bytes) -> None:
        self._library.device_feed(self._it, data, len(data), self.now & FOREVER)

    def poll(self) -> int:
        """Let it send, and see what time it is; when it wants to be called again, on its clock."""
        wait: int = self._library.device_poll(self._it, self.now & FOREVER)
        return self.now + wait

    def passes(self, milliseconds: int) -> None:
        """Time passes; it is called whenever it wants to be."""
        end = self.now + milliseconds
        while (at := self.poll()) < end:
            self.now = max(at, self.now + 1)
        self.now = end
        self.poll()

    def connects(self) -> None:
        """Let it wait for as long as it likes, and give it a connection."""
        while True:
            at = self.poll()
            if self.state == "connecting":
                break
            self.now = at
        self.connected()
        self.poll()

    def said(self) -> bytes:
        """What it has sent since this was last asked."""
        data = b"".join(self.sent)
        self.sent.clear()
        return data
