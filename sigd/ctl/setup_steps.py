"""Steps of `sigctl setup`: the files first, then the units, then a test of each TLS listener."""

import argparse
import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Final

from sigd.ctl.command_line import DEFAULT_CONFIG, DEFAULT_SOCKET, EXIT_REFUSED, EndedError
from sigd.ctl.quantities import plural
from sigd.terminal import EXIT_FAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sigd.admin.replies import StatusReply
    from sigd.config import Config, Listener
    from sigd.ctl.setup_files import File, Folder
    from sigd.ctl.units import Units

SECRET: Final = "/etc/sigd/secret"

SOCKET_DROP_IN: Final = "/etc/systemd/system/sigd.socket.d/50-sigctl-setup.conf"

SERVICE_DROP_IN: Final = "/etc/systemd/system/sigd.service.d/50-sigctl-setup.conf"

UNDO_SOCKETS: Final = (
    f"sudo rm {SOCKET_DROP_IN} && sudo systemctl daemon-reload && sudo systemctl stop sigd.service sigd.socket"
    " && sudo systemctl start sigd.socket"
)

CERTBOT: Final = "/etc/letsencrypt/live"

HOOK: Final = "/etc/letsencrypt/renewal-hooks/deploy/sigd"

BEFORE: Final = ".before-setup"
"""Suffix of the previous configuration's copy; .2 and so on if an edited copy is already there."""

SYSTEMCTL_SECONDS: Final = 90.0
"""Timeout for systemctl: a stop takes `drain_ms` and some seconds, at most systemd's own timeout."""

TRY_SECONDS: Final = 10.0
"""Timeout for a handshake with the listener, including the answer to a ping."""


class Steps:
    """One run of the command.

    Attributes:
        did: the steps done, or that would be.
        hints: next steps for the operator.
        undo: how to undo the changes made so far.
        status: its exit status.
    """

    def __init__(self, options: argparse.Namespace, folder: "Folder") -> None:
        self.did: list[str] = []
        self.hints: list[str] = []
        self.status = 0
        self._options = options
        self._folder = folder
        self._changed: set[str] = set()
        self.undo = ""
        self._dry = bool(options.dry_run)
        self._own_certificate: str | None = None

    def take(self) -> None:
        """Do all steps, in an order that leaves nothing half done: files first, then the units."""
        from sigd.ctl import setup_files, units

        if setup_files.gid_of_group() is None and not self._dry and self._options.root == "/":
            self._run("groupadd", "--system", setup_files.GROUP)
        if self._options.tls is not None:
            self._write_all(self._files_of_tls())
        config = self._config()
        if config is None:  # a dry run, before there is a configuration
            return
        if self._options.tls is None:
            self._see_ports(config.listen)
        self._write_all(self._unreadable(config))
        self._write_all(self._drop_ins(config))
        if self._options.root != "/":
            self.hints.append("in the image: systemctl enable sigd.socket")
            return
        self._have_read(config)
        found = units.units()
        if found is None or found.sockets is None:
            self.hints.append(f"systemd has no sigd.socket here: run sigd --config {DEFAULT_CONFIG}")
            return
        self._activate(config, found)
        if not self._dry:
            self._try(config)
        self._tell(config)

    # -- files

    def _files_of_tls(self) -> "Iterator[File]":
        from sigd.config import Listener
        from sigd.ctl import setup_files
        from sigd.ctl.setup_files import File

        options, folder = self._options, self._folder
        config = folder.content(DEFAULT_CONFIG)
        certificate, key = f"/etc/sigd/{options.tls}.pem", f"/etc/sigd/{options.tls}.key"
        urls = _urls(options.port or 7337, udp=options.udp)
        wanted = setup_files.configuration(urls, certificate, key, SECRET)
        if not options.force and config != wanted and not setup_files.is_unedited(config):
            kept = folder.place_for(DEFAULT_CONFIG + BEFORE, config)
            raise EndedError(
                EXIT_REFUSED,
                f"{DEFAULT_CONFIG} has been edited: nothing was changed",
                "either edit its [[listen]], then run: sudo sigctl setup",
                f"or replace it with --force; the old one is kept as {kept}",
            )
        self._see_ports([Listener(url) for url in urls])
        yield from self._certificate(certificate, key)
        if folder.content(SECRET) is None:
            yield File(SECRET, setup_files.secret(), setup_files.PRIVATE)
        if config not in {None, wanted}:
            before = folder.place_for(DEFAULT_CONFIG + BEFORE, config)
            yield File(before, config, setup_files.PRIVATE)
            self.undo = f"sudo mv {before} {DEFAULT_CONFIG} && sudo sigctl setup"
        yield File(DEFAULT_CONFIG, wanted)

    def _see_ports(self, listeners: "Iterable[Listener]") -> None:
        """Check that the ports to open are free, before the serving sockets are closed.

        Raises:
            EndedError: another process holds a port.
        """
        from sigd.config import Config
        from sigd.ctl import surroundings, units

        found = units.units() if self._options.root == "/" else None
        if found is None or found.sockets is None:
            return
        status = _status() if found.state == "active" else None
        # A connection to a Unix socket would make systemd start the service.
        ports = Config(listen=tuple(each for each in listeners if each.address.scheme != "unix"))
        taken = [
            f"{each.text}: {each.advice}: nothing was changed"
            for each in surroundings.port_findings(ports, None if status is None else status.pid)
            if each.severity == "fail"
        ]
        if taken:
            raise EndedError(EXIT_REFUSED, *taken)

    def _certificate(self, certificate: str, key: str) -> "Iterator[File]":
        from sigd.ctl import setup_files
        from sigd.ctl.setup_files import File

        options, folder = self._options, self._folder
        live = f"{CERTBOT}/{options.tls}"
        given = options.certificate, options.key
        if given[0] is None and folder.content(f"{live}/fullchain.pem") is not None:
            given = f"{live}/fullchain.pem", f"{live}/privkey.pem"
        if given[0] is None:
            if folder.content(certificate) is None or folder.content(key) is None:
                made, made_key = (b"", b"") if self._dry else setup_files.self_made(options.tls)
                yield File(key, made_key, setup_files.PRIVATE)
                yield File(certificate, made)
            else:
                yield File(key, folder.content(key), setup_files.PRIVATE)
            self._own_certificate = certificate
            return
        contents = [folder.content(os.path.abspath(path)) for path in given]
        for path, content in zip(given, contents, strict=True):
            if content is None:
                raise EndedError(EXIT_FAULT, f"{path}: no such file")
        setup_files.check_pair(*(folder.at(os.path.abspath(path)) for path in given))
        yield File(key, contents[1], setup_files.PRIVATE)
        yield File(certificate, contents[0])
        folder_of_both = os.path.dirname(os.path.abspath(given[0]))
        if folder_of_both.startswith(CERTBOT + "/"):
            hook = setup_files.HOOK.format(live=folder_of_both, certificate=certificate, key=key)
            yield File(HOOK, hook.encode(), 0o755)

    def _unreadable(self, config: "Config") -> "Iterator[File]":
        """Find files in /etc/sigd that the service needs and cannot read."""
        from sigd.ctl import named_files
        from sigd.ctl.setup_files import PRIVATE, File

        reader = named_files.reader_of(None, config.admin.group)
        for path in dict.fromkeys([SECRET, *named_files.names(config)]):
            content = self._folder.content(path) if path.startswith("/etc/sigd/") else None
            if content is not None and reader is not None and not named_files.may_read(self._folder.at(path), reader):
                yield File(path, content, PRIVATE)

    def _drop_ins(self, config: "Config") -> "Iterator[File]":
        from sigd.ctl import setup_files
        from sigd.ctl.setup_files import File

        yield File(SOCKET_DROP_IN, setup_files.socket_drop_in(config.listen))
        dtls = any(each.address.scheme == "dtls" for each in config.listen)
        if dtls or self._folder.content(SERVICE_DROP_IN) is not None:
            yield File(SERVICE_DROP_IN, setup_files.DTLS_DROP_IN.encode() if dtls else None)

    def _say(self, done: str, would: str, what: str) -> None:
        self.did.append(f"would {would} {what}" if self._dry else f"{done} {what}")

    def _write_all(self, files: "Iterator[File] | Sequence[File]") -> None:
        for file in files:
            if self._folder.is_as(file):
                continue
            was_there = self._folder.content(file.path) is not None
            done, would = ("removed", "remove") if file.content is None else ("wrote", "write")
            done, would = ("changed", "change") if was_there and file.content is not None else (done, would)
            self._say(done, would, file.path)
            self._changed.add(file.path)
            if not was_there and file.path == SOCKET_DROP_IN and not self.undo:
                self.undo = UNDO_SOCKETS
            if not self._dry:
                self._folder.write(file)

    def _config(self) -> "Config | None":
        """Return the configuration as it will be.

        Raises:
            EndedError: it has faults.
        """
        from sigd.config import ConfigError, load

        if self._dry and DEFAULT_CONFIG in self._changed:
            self.did.append("would set the addresses of sigd.socket, and restart both units")
            return None
        try:
            return load(self._folder.at(DEFAULT_CONFIG))
        except ConfigError as error:
            raise EndedError(EXIT_FAULT, *map(str, error.faults)) from None

    def _have_read(self, config: "Config") -> None:
        """Check that the service will start: every named file exists and is readable to it.

        Raises:
            EndedError: it would not start.
        """
        from sigd.config import ConfigError
        from sigd.ctl import named_files
        from sigd.ctl.check import is_credential
        from sigd.rules.made import Rules

        try:
            Rules(config)
        except ConfigError as error:
            faults = [str(fault) for fault in error.faults if not is_credential(fault.where)]
            if faults:
                raise EndedError(EXIT_FAULT, *faults, "nothing was restarted") from None
        if self._dry:
            return
        reader = named_files.reader_of(None, config.admin.group)
        found = list(named_files.permission_findings(config, DEFAULT_CONFIG, reader))
        if any(each.code == "unreadable" for each in found):
            lines = [f"{each.text}: {each.advice}" for each in found]
            raise EndedError(EXIT_REFUSED, *lines, "nothing was restarted")

    # -- units

    def _activate(self, config: "Config", found: "Units") -> None:
        from sigd.config import digest
        from sigd.ctl.setup_files import keys_of
        from sigd.ctl.units import ADMIN_SOCKET, SERVICE, SOCKET, handed_over, units

        if {SOCKET_DROP_IN, SERVICE_DROP_IN} & self._changed or found.stale:
            self._systemctl("daemon-reload")
            found = found if self._dry else units() or found
        wanted = frozenset(keys_of(config.listen))
        if not self._dry and found.sockets != wanted:
            raise EndedError(
                EXIT_REFUSED,
                f"another drop-in of {SOCKET} changes its addresses: see `systemctl cat {SOCKET}`",
                f"remove its ListenStream= and ListenDatagram=, e.g. by `sudo systemctl revert {SOCKET}`; then again",
            )
        self._systemctl("enable", "--quiet", SOCKET)
        status = _status() if found.state == "active" else None
        # Without a daemon, it is unknown whether the open sockets are those of the current unit.
        has_others = status is None or handed_over(status) != wanted
        if SOCKET_DROP_IN in self._changed or found.socket_state != "active" or has_others:
            if status is not None and _links(status):
                self._say("told", "tell", f"{plural(_links(status), 'link')} to reconnect: {SOCKET} restarts")
            # All three at once: a request on the control socket would start the service again.
            self._systemctl("stop", SOCKET, ADMIN_SOCKET, SERVICE)
            self._systemctl("start", SOCKET, ADMIN_SOCKET)
            self._systemctl("start", SERVICE)
        elif {DEFAULT_CONFIG, SERVICE_DROP_IN} & self._changed:
            self._systemctl("restart", SERVICE)
        elif self._changed:
            self._systemctl("reload", SERVICE)
        elif status is not None and status.configuration != digest(config):
            self.hints.append(f"{DEFAULT_CONFIG} has changed since the daemon read it: sudo sigctl reload")

    def _systemctl(self, *arguments: str) -> None:
        if arguments[0] != "enable":
            self._say("ran", "run", " ".join(["systemctl", *arguments]))
        if not self._dry:
            self._run("systemctl", *arguments)

    def _run(self, *command: str) -> None:
        from sigd.ctl.units import units

        try:
            subprocess.run(command, capture_output=True, text=True, timeout=SYSTEMCTL_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError) as fault:
            found = units()
            why = found.why_down if found is not None else ""
            said = (getattr(fault, "stderr", None) or str(fault)).strip()
            raise EndedError(EXIT_REFUSED, f"{' '.join(command)}: {why or said}") from None

    # -- result

    def _try(self, config: "Config") -> None:
        """Connect to each TLS listener as a client would."""
        import socket
        import ssl

        from sigd.config.endpoints import addresses_of

        name = self._options.tls
        if name is None:
            return
        trusted = self._own_certificate
        for listener in config.listen:
            if listener.address.scheme != "tls":
                continue
            for _, host, port, _ in addresses_of(listener.address):
                here = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
                try:
                    context = ssl.create_default_context(cafile=trusted)
                    with (
                        socket.create_connection((here, port), TRY_SECONDS) as plain,
                        context.wrap_socket(plain, server_hostname=name) as sock,
                    ):
                        sock.sendall(b"ping\n")
                        answer = sock.recv(100)
                except OSError as fault:
                    self.status = EXIT_REFUSED
                    why = getattr(fault, "verify_message", None) or fault
                    self.hints.append(f"a client that connects to {listener.url} as {name} fails: {why}")
                else:
                    what = "it answers" if b"pong" in answer else "the server there is not sigd"
                    self.did.append(f"tried {listener.url} as {name}: {what}")

    def _tell(self, config: "Config") -> None:
        name, port = self._options.tls, self._options.port or 7337
        if not self._changed:
            self.did.insert(0, "nothing to do: already set up")
        if self.undo:
            self.hints.append(f"to undo it: {self.undo}")
        if name is None:
            return
        trust = ""
        if self._own_certificate is not None:
            trust = f"--ca {self._own_certificate} "
            self.hints.append(f"give {self._own_certificate} to the clients: it is self-signed")
        self.hints += [
            f"open TCP port {port} in any firewall",
            "a token for a client: sudo sigctl token --id cam1 --ttl 30d",
            f"to try it: sudo sigctl listen --secret-file {SECRET} {trust}tls://{name}:{port}",
        ]


def _urls(port: int, *, udp: bool) -> list[str]:
    """Return the URLs of a public server: all IPv4 addresses, and all IPv6 addresses if the kernel has IPv6."""
    import socket

    hosts = ["0.0.0.0"]
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6):
        hosts.append("[::]")
    schemes = ["tls", "udp"] if udp else ["tls"]
    return [f"{scheme}://{host}:{port}" for scheme in schemes for host in hosts]


def _status() -> "StatusReply | None":
    """Return the daemon's status; None without an answer."""
    from sigd.admin.questions import AskStatus
    from sigd.admin.replies import StatusReply
    from sigd.ctl.ask import ask

    try:
        return ask(DEFAULT_SOCKET, AskStatus(), StatusReply)[0]
    except EndedError:
        return None


def _links(status: "StatusReply") -> int:
    return sum(number for name, number in status.links.items() if name != "lines")
