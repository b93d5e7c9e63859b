"""`sigd`, the daemon's command line: options in, one line per fault out, then the server."""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import sigd
from sigd.config import Config, ConfigError, StartError, load, render, shown

# Usage or configuration: nothing was started, and trying again without a change is pointless.
EXIT_FAULT = 2
# What a shell says of a program that SIGINT ended: 128 + 2.
EXIT_INTERRUPTED = 130
# What main prints of an exception from the system is one line of a terminal, not a page.
LONGEST_LINE = 1024

EPILOG = """\
examples:
  sigd                               listen on tcp://127.0.0.1:7337
  sigd --print-config > sigd.toml    start a configuration file
  sigd --config sigd.toml --check    find all its faults
  sigd --listen tcp://[::1]:7337 --listen 'unix:/run/sigd/sigd.sock?mode=0660'
  sigd --set limits.max_frame=4096 --set log.level=debug

exit status:
  0  stopped as asked, or nothing wrong
  2  the options or the configuration are at fault, or an address cannot be had
  1  anything else
"""


class _Parser(argparse.ArgumentParser):
    """Argparse with its faults on one line, and nothing in them that steers a terminal."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_FAULT, f"sigd: {shown(message, LONGEST_LINE)}; see `sigd --help`\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sigd",
        description="WebRTC signaling daemon: hands offers, answers and candidates from peer to peer.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # so that no later option changes what an old script means
    )
    parser.add_argument("--config", metavar="FILE", help="read this TOML file; without it, all defaults")
    parser.add_argument(
        "--listen",
        metavar="URL",
        action="append",
        default=[],
        help="tcp://HOST:PORT or unix:/PATH[?mode=0660]; may be repeated; replaces the configuration's list",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="settings",
        help="put one key over the file, as in limits.max_frame=4096; may be repeated",
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="find all faults, start nothing")
    instead.add_argument("--print-config", action="store_true", help="print every key and value, as TOML")
    instead.add_argument("--version", action="version", version=f"sigd {sigd.__version__}")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run sigd with these arguments and return its exit status."""
    options = _parser().parse_args(argv)
    try:
        config = load(options.config, options.listen, options.settings)
        if options.check:
            return _print("configuration is valid\n")
        return _print(render(config)) if options.print_config else _serve(config)
    except ConfigError as error:
        return _refuse(error, counted=options.check)
    except StartError as error:
        print(f"sigd: {shown(str(error), LONGEST_LINE)}", file=sys.stderr)
        return EXIT_FAULT
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _serve(config: Config) -> int:
    from sigd import server  # trio and sockets, which no other option needs

    return server.run(config)


def _refuse(error: ConfigError, *, counted: bool) -> int:
    for fault in error.faults:
        print(fault, file=sys.stderr)
    if counted:
        number = len(error.faults)
        print(f"{number} fault" if number == 1 else f"{number} faults", file=sys.stderr)
    return EXIT_FAULT


def _print(text: str) -> int:
    """Write to standard output and return the exit status."""
    try:
        print(text, end="", flush=True)
    except OSError as error:
        # `sigd --print-config | head -1`, a full disk: what is left in the buffer would fail again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            print(f"sigd: standard output: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
