"""`sigctl setup`: turns an installed sigd into a serving one, or fits the sockets to a changed `[[listen]]`."""

import argparse
import os

from sigd.ctl.command_line import EXIT_REFUSED, Commands, EndedError
from sigd.ctl.printing import put, put_json
from sigd.terminal import EXIT_FAULT
from sigd.text import escaped

TEXT = """\
Sets up the service, as root. With --tls it writes /etc/sigd/sigd.toml: a
tls:// listener on all addresses, and a secret for `sigctl token`. The
certificate is that of --certificate, or certbot's for NAME
(/etc/letsencrypt/live/NAME). Otherwise it makes a self-signed one, which
clients must be given. A copy lies in /etc/sigd, readable to the service; a
certbot hook keeps the copy up to date. An edited configuration is kept, unless
--force is given.

It also sets the addresses of sigd.socket to those of [[listen]], lets the
service read its files, and restarts both units if needed; with --tls it tests
the listener. Run it after each change of [[listen]]; without a change it does
nothing. It prints each step and how to undo it; with --dry-run it only prints.
"""

EXAMPLES = """\
  sudo sigctl setup --tls sigd.example.net
  sudo sigctl setup --tls sigd.example.net --udp --port 443
  sudo sigctl setup --tls 203.0.113.5 --certificate fullchain.pem --key key.pem
  sudo sigctl setup --dry-run
"""


def describe(commands: Commands) -> None:
    """Add the command of this module."""
    setup = commands.add(
        "setup", _setup, summary="set up the service", text=TEXT, examples=EXAMPLES, writes=None, asks=False
    )
    setup.add_argument("--tls", metavar="NAME", type=_name, help="listen on tls:// as this host name or address")
    setup.add_argument("--certificate", metavar="FILE", help="certificate (PEM) with its chain")
    setup.add_argument("--key", metavar="FILE", help="private key (PEM) of the certificate")
    setup.add_argument("--port", metavar="PORT", type=_port, help="port to listen on (7337)")
    setup.add_argument("--udp", action="store_true", help="listen on udp:// as well, for devices")
    setup.add_argument("--force", action="store_true", help="overwrite an edited configuration")
    setup.add_argument("--dry-run", action="store_true", help="print the steps without doing them")
    setup.add_argument("--root", metavar="DIR", default="/", help="set up the image mounted at this path")


def _name(written: str) -> str:
    from sigd.config.listen import parse_host

    # No certificate names a host with the root's dot.
    name = written.removesuffix(".")
    try:
        host = parse_host(f"[{name}]" if name.count(":") > 1 else name, "")
    except ValueError:
        host = ""
    if host in {"", "0.0.0.0", "::"}:
        hint = "give a name such as sigd.example.net, or an address; use --port for the port"
        raise argparse.ArgumentTypeError(f'"{written}" is not a host name or address: {hint}')
    return host


def _port(written: str) -> int:
    if not (written.isascii() and written.isdecimal() and len(written) <= 5 and 0 < int(written) <= 65_535):
        raise argparse.ArgumentTypeError(f'"{written}" is not a port from 1 to 65535')
    return int(written)


def _setup(options: argparse.Namespace) -> int:
    from sigd.ctl.setup_files import Folder
    from sigd.ctl.setup_steps import Steps

    _check_options(options)
    if options.root == "/" and not options.dry_run and os.geteuid() != 0:
        raise EndedError(EXIT_REFUSED, "needs root: sudo sigctl setup, or --dry-run to preview")
    if not os.path.isdir(options.root):
        raise EndedError(EXIT_FAULT, f"{options.root}: no such directory")
    steps = Steps(options, Folder(options.root))
    try:
        steps.take()
    except EndedError as ended:
        # Print the steps done so far, and how to undo them.
        put(map(escaped, [] if options.json else steps.did))
        undo = [f"to undo it: {steps.undo}"] if steps.undo and not options.dry_run else []
        raise EndedError(ended.status, *ended.lines, *undo) from None
    if options.json:
        document = {"type": "setup", "dryRun": options.dry_run, "did": steps.did, "next": steps.hints}
        return put_json(document) or steps.status
    return put(map(escaped, [*steps.did, *steps.hints])) or steps.status


def _check_options(options: argparse.Namespace) -> None:
    if options.tls is None:
        for name in ("certificate", "key", "port", "udp"):
            if getattr(options, name):
                raise EndedError(EXIT_FAULT, f"--{name} goes with --tls NAME")
    if (options.certificate is None) != (options.key is None):
        raise EndedError(EXIT_FAULT, "--certificate and --key go together")
