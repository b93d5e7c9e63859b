"""Files that `sigctl setup` writes: configuration, certificate, secret, drop-ins of units. Uses no systemd."""

import contextlib
import grp
import hashlib
import os
import re
import secrets
import subprocess
import tempfile
from collections.abc import Collection, Iterable
from typing import Final, NamedTuple

from sigd.config.endpoints import Endpoint, addresses_of
from sigd.config.listen import Listener, parse_listen
from sigd.ctl.command_line import EXIT_REFUSED, EndedError

GROUP: Final = "sigd"
"""The group that can read secrets; the service is a member (SupplementaryGroups=)."""

READABLE: Final = 0o644

PRIVATE: Final = 0o640

SELF_MADE_DAYS: Final = 825
"""Days that a self-signed certificate is valid; some clients refuse longer validity from any authority."""

OPENSSL_SECONDS: Final = 30.0

_MARK: Final = "# Not edited since it was written, if this is the SHA-256 of all above: "

CONFIG: Final = """\
# Configuration of sigd, written by `sigctl setup`. All keys: man sigd.toml, or sigd --print-config.
#   sudo sigctl check     finds faults
#   sudo sigctl setup     sets the addresses of sigd.socket after a change of [[listen]]
#   sudo sigctl reload    applies all other changes
"""

LISTENER: Final = """
[[listen]]
url = "{url}"
"""

CERTIFIED: Final = """\
certificate = "{certificate}"
key = "{key}"
"""

CREDENTIALS: Final = """
[limits]
# At a stop clients are told to reconnect, spread over 5 seconds.
drain_ms = 5000

# Tokens are made of this secret:  sudo sigctl token --id cam1 --ttl 30d
[[auth.hmac]]
secret_file = "{secret}"
register = ["*"]
"""

DROP_IN: Final = """\
# Written by `sigctl setup`: the addresses of [[listen]]. Run it again after a change of [[listen]].
[Socket]
ListenStream=
ListenDatagram=
"""

DTLS_DROP_IN: Final = """\
# Written by `sigctl setup`, for dtls:// listeners: pyOpenSSL writes its callbacks into memory, and executes that.
[Service]
MemoryDenyWriteExecute=no
"""

HOOK: Final = """\
#!/bin/sh
# Written by `sigctl setup`: certbot runs it after a renewal. The service may not read {live}.
[ "$RENEWED_LINEAGE" = {live} ] || exit 0
install -m 0644 {live}/fullchain.pem {certificate}
install -m 0640 -g sigd {live}/privkey.pem {key}
systemctl try-reload-or-restart sigd.service
"""


class File(NamedTuple):
    """The intended state of a file.

    Attributes:
        path: its path.
        content: its content; None: it must not exist.
        mode: its permissions; with PRIVATE it belongs to the group.
        keeps: replace other content only with the operator's consent.
    """

    path: str
    content: bytes | None
    mode: int = READABLE
    keeps: bool = False


class Folder:
    """The root of all paths: `/`, or that of an image."""

    def __init__(self, root: str) -> None:
        self.root = root

    def at(self, path: str) -> str:
        """Return the actual path of a server's path."""
        return os.path.join(self.root, path.lstrip("/"))

    def content(self, path: str) -> bytes | None:
        """Return the content of a file; None if it does not exist."""
        try:
            with open(self.at(path), "rb") as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as fault:
            raise EndedError(EXIT_REFUSED, f"{path}: {fault.strerror}") from None

    def place_for(self, path: str, content: bytes | None) -> str:
        """Return the path, or a variant of it, at which the content overwrites no edited file."""
        place, number = path, 1
        while not is_unedited(there := self.content(place)) and there != content:
            number += 1
            place = f"{path}.{number}"
        return place

    def is_as(self, file: File) -> bool:
        """Return whether a file has its intended content and permissions."""
        if self.content(file.path) != file.content:
            return False
        if file.content is None:
            return True
        status = os.stat(self.at(file.path))
        gid = gid_of_group()
        return status.st_mode & 0o7777 == file.mode and (file.mode != PRIVATE or gid is None or status.st_gid == gid)

    def write(self, file: File) -> None:
        """Write or remove a file atomically."""
        path = self.at(file.path)
        try:
            if file.content is None:
                os.unlink(path)
                return
            os.makedirs(os.path.dirname(path), exist_ok=True)
            descriptor, new = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".sigctl-")
            with open(descriptor, "wb") as opened:
                opened.write(file.content)
                gid = gid_of_group()
                if file.mode == PRIVATE and gid is not None:
                    os.chown(new, -1, gid)
                os.chmod(new, file.mode)
            os.replace(new, path)
        except OSError as fault:
            raise EndedError(EXIT_REFUSED, f"{file.path}: {fault.strerror}: run it as root") from None


def gid_of_group() -> int | None:
    """Return the gid of the service's group; None if the group does not exist."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def marked(text: str) -> bytes:
    """Append the line that marks a file as unedited."""
    return f"{text}{_MARK}{hashlib.sha256(text.encode()).hexdigest()}\n".encode()


def is_unedited(content: bytes | None) -> bool:
    """Return whether a file is as `make install` or `sigctl setup` has written it, or missing."""
    if content is None:
        return True
    found = re.fullmatch(rb"(.*)" + re.escape(_MARK.encode()) + rb"([0-9a-f]{64})\n", content, re.DOTALL)
    return found is not None and hashlib.sha256(found[1]).hexdigest().encode() == found[2]


def configuration(urls: Iterable[str], certificate: str, key: str, secret: str) -> bytes:
    """Return a configuration with these listeners and with tokens made from a secret."""
    text = CONFIG
    for url in urls:
        text += LISTENER.format(url=url)
        if parse_listen(url).scheme == "tls":
            text += CERTIFIED.format(certificate=certificate, key=key)
    return marked(text + CREDENTIALS.format(secret=secret))


def keys_of(listeners: Iterable[Listener]) -> set[Endpoint]:
    """Return the addresses that sigd.socket needs for these listeners."""
    keys = {key for each in listeners for key in addresses_of(each.address)}
    return {key for key in keys if key[2] or key[3]}  # the system assigns port 0, so a unit cannot name it


def socket_drop_in(listeners: Collection[Listener]) -> bytes:
    """Return the drop-in of sigd.socket for these listeners.

    Raises:
        EndedError: Unix sockets have different modes, and one unit cannot have both.
    """
    text = DROP_IN
    for datagrams, host, port, path in sorted(keys_of(listeners)):
        where = path or f"{f'[{host}]' if ':' in host else host}:{port}"
        text += f"Listen{'Datagram' if datagrams else 'Stream'}={where}\n"
    modes = {each.address.mode for each in listeners if each.address.scheme == "unix"}
    if len(modes) > 1:
        what = "unix: listeners with different ?mode= do not go into one sigd.socket: give all the same"
        raise EndedError(EXIT_REFUSED, what)
    mode = next(iter(modes), None)
    return (text if mode is None else f"{text}SocketMode={mode:04o}\n").encode()


def secret() -> bytes:
    """Generate a secret like that of `openssl rand -base64 32`."""
    import base64

    return base64.b64encode(secrets.token_bytes(32)) + b"\n"


def check_pair(certificate: str, key: str) -> None:
    """Check that a server can use these files.

    Raises:
        EndedError: it cannot.
    """
    import ssl

    try:
        # OpenSSL would ask on the terminal for the password of an encrypted key.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as fault:
        why = getattr(fault, "reason", None) or getattr(fault, "strerror", None) or fault
        what = f"{certificate} and {key} are no certificate and its key: {why}: nothing was changed"
        raise EndedError(EXIT_REFUSED, what) from None


def self_made(name: str) -> tuple[bytes, bytes]:
    """Make a self-signed certificate for a host name or address; return it with its key.

    Raises:
        EndedError: openssl is missing or fails.
    """
    import ipaddress

    kind = "DNS"
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(name)
        kind = "IP"
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = f"{folder}/key", f"{folder}/certificate"
        command = [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
            *("-days", str(SELF_MADE_DAYS), "-subj", f"/CN={name[:64]}"),
            *("-addext", f"subjectAltName={kind}:{name}", "-addext", "basicConstraints=critical,CA:FALSE"),
            *("-addext", "keyUsage=critical,digitalSignature", "-addext", "extendedKeyUsage=serverAuth"),
            *("-keyout", key, "-out", certificate),
        ]
        try:
            subprocess.run(command, capture_output=True, text=True, timeout=OPENSSL_SECONDS, check=True)
        except FileNotFoundError:
            what = "a certificate is made by openssl: sudo apt-get install openssl, or give --certificate and --key"
            raise EndedError(EXIT_REFUSED, what) from None
        except (OSError, subprocess.SubprocessError) as fault:
            said = getattr(fault, "stderr", None) or str(fault)
            raise EndedError(EXIT_REFUSED, f"openssl makes no certificate: {str(said).strip()[-200:]}") from None
        with open(certificate, "rb") as made, open(key, "rb") as made_key:
            return made.read(), made_key.read()
