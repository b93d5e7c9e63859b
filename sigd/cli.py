"""`sigd`, the daemon's command line: options in, one line per fault out, then the server."""

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence

import sigd
from sigd.config import Config, ConfigError, StartError, load, render
from sigd.terminal import EXIT_FAULT, EXIT_INTERRUPTED, Parser, complain, finish_output, put_out, say
from sigd.text import escaped

EPILOG = """\
examples:
  sigd                               listen on tcp://127.0.0.1:7337
  sigd --print-config > sigd.toml    start a configuration file
  sigd --config sigd.toml --check    find all its faults
  sigd --listen tcp://[::1]:7337 --listen 'unix:/run/sigd/sigd.sock?mode=0660'
  sigd --set limits.max_frame=4096 --set log.level=debug

exit status:
  0  stopped on request, or no faults found
  75 all links were handed over to the next process (SIGUSR2): start it
  2  invalid options or configuration, or an address that cannot be bound
  1  any other failure
"""


def parser() -> argparse.ArgumentParser:
    """Build the parser of `sigd`; help and man page are made from it."""
    parser = Parser(
        prog="sigd",
        description="WebRTC signaling daemon: hands offers, answers and candidates from peer to peer.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # so that no later option changes what an old script means
    )
    parser.add_argument("--config", metavar="FILE", help="TOML file to read (default: all defaults)")
    parser.add_argument(
        "--listen",
        metavar="URL",
        action="append",
        default=[],
        help="tcp://HOST:PORT, tls://, udp:// or dtls://HOST:PORT, or unix:/PATH[?mode=0660]; may be repeated; replaces"
        " all [[listen]] (tls and dtls need a certificate, and thus a file)",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="override one key, as in limits.max_frame=4096; may be repeated",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument(
        "--check", action="store_true", help="check the configuration with its secrets and keys, and exit"
    )
    instead.add_argument("--print-config", action="store_true", help="print every key and value as TOML, and exit")
    instead.add_argument("--version", action="version", version=f"sigd {sigd.__version__}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run sigd with these arguments and return its exit status."""
    try:
        return _run(argv)
    finally:
        finish_output()


def _run(argv: Sequence[str] | None) -> int:
    options = parser().parse_args(argv)
    read = functools.partial(load, options.config, options.listen, options.settings)
    try:
        config = read()
        if options.check:
            return _check(config, options.config)
        return put_out("sigd", render(config)) if options.print_config else _serve(config, read, options.config)
    except ConfigError as error:
        if not (options.check or options.print_config):
            _tell_systemd(error.faults[0])
        return _refuse([str(fault) for fault in error.faults], counted=options.check)
    except StartError as error:
        return complain("sigd", error)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _check(config: Config, path: str | None) -> int:
    """Check the configuration with all its files, and whether the service could start with it."""
    from sigd.ctl.check import service_findings
    from sigd.rules.made import Rules  # loads sockets and TLS, which printing does not need

    Rules(config)
    found = service_findings(config, path)
    for each in found:
        say(escaped(f"{each.severity}: {each.text}: {each.advice}"))
    if any(each.severity == "fail" for each in found):
        return EXIT_FAULT
    return put_out("sigd", "configuration is valid\n")


def _serve(config: Config, load_again: Callable[[], Config], path: str | None) -> int:
    from sigd.server import serving

    return serving.run(config, load_again, path)


def _tell_systemd(fault: object) -> None:
    """Report in `systemctl status`, and so in `sigctl status`, why the service does not start."""
    from sigd.server.systemd import Notifier

    notifier = Notifier(os.environ)
    notifier.status(f"cannot start: {fault}")
    notifier.close()


def _refuse(faults: Sequence[str], *, counted: bool) -> int:
    for fault in faults:
        say(fault)
    if counted:
        number = len(faults)
        say(f"{number} fault" if number == 1 else f"{number} faults")
    return EXIT_FAULT


if __name__ == "__main__":
    sys.exit(main())
