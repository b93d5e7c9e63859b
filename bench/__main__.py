"""`python -m bench`: measures what is installed, prints tables and targets. Ends with 1 only if something broke."""

import argparse
import os
import platform
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from bench.measure import LOAD, LOAD_TLS, SCENARIOS, BuildError, Results, Scenario, build, measure
from bench.report import BASELINE, connection_table, million_line, noise_line, rates_line, scenario_table, summary_table
from bench.servers import KNOWN, NotInstalledError, Server, require_openssl, sigd_like
from bench.targets import target_table


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--seconds", type=float, help="measured seconds of each run (2; with --quick 1)")
    parser.add_argument("--rounds", type=int, help="how often everything is repeated (5; with --quick 1)")
    parser.add_argument("--only", metavar="NAMES", help=f"comma-separated, of {', '.join(KNOWN)}; and what --also adds")
    scenarios = ", ".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--scenarios", metavar="NAMES", help=f"comma-separated, of {scenarios}")
    parser.add_argument("--quick", action="store_true", help="one short round: does it work, roughly how much")
    parser.add_argument("--markdown", action="store_true", help="print the README's table instead")
    parser.add_argument(
        "--sigd-command",
        metavar="COMMAND",
        default=os.environ.get("SIGD_COMMAND"),
        help="measure this as sigd; also from SIGD_COMMAND. Replaced where they stand: {port}, {listen} (which may be"
        " for TLS) and {settings} (limits raised); no shell",
    )
    parser.add_argument(
        "--also",
        metavar="NAME=COMMAND",
        action="append",
        default=[],
        help="another server that speaks sigd's protocol, in the same rounds: before and after, side by side",
    )
    options = parser.parse_args(argv)
    options.seconds = options.seconds or (1.0 if options.quick else 2.0)
    options.rounds = options.rounds or (1 if options.quick else 5)
    if not 0 < options.seconds <= 60:
        parser.error("--seconds is from 0 to 60")
    if not all("=" in also for also in options.also):
        parser.error("--also is NAME=COMMAND")
    return options


def _servers(options: argparse.Namespace) -> list[Server]:
    """What is to be measured and is here; what is not here is said."""
    also = dict(item.split("=", 1) for item in options.also)
    if clash := set(also) & set(KNOWN):
        raise SystemExit(f"--also needs a name of its own, not {', '.join(sorted(clash))}")
    chosen = options.only.split(",") if options.only else list(KNOWN)
    if unknown := set(chosen) - set(KNOWN):
        raise SystemExit(f"no such server: {', '.join(sorted(unknown))} (there are {', '.join(KNOWN)})")
    found: list[Server] = []
    for name in [name for name in KNOWN if name in chosen]:
        try:
            ours = name == "sigd" and options.sigd_command
            found.append(sigd_like(name, options.sigd_command) if ours else KNOWN[name]())
        except NotInstalledError as error:
            print(f"{name}: not installed ({error})", flush=True)
    return found + [sigd_like(name, command) for name, command in also.items()]


def _scenarios(options: argparse.Namespace) -> list[Scenario]:
    if not options.scenarios:
        return SCENARIOS
    wanted = options.scenarios.split(",")
    if unknown := set(wanted) - {scenario.name for scenario in SCENARIOS}:
        raise SystemExit(f"no such scenario: {', '.join(sorted(unknown))}")
    return [scenario for scenario in SCENARIOS if scenario.name in wanted]


def _programs(scenarios: Sequence[Scenario]) -> dict[str, Path]:
    """The load generators that are needed, by name; without those that need OpenSSL the rest goes on.

    Raises:
        BuildError: not even plain text can be spoken.
    """
    programs = {LOAD: build()}
    for name in dict.fromkeys(scenario.program for scenario in scenarios):
        try:
            if name == LOAD_TLS:
                require_openssl()
            programs[name] = build(name)
        except (BuildError, NotInstalledError) as error:
            if name == LOAD:
                raise
            left_out = ", ".join(scenario.name for scenario in scenarios if scenario.program == name)
            print(f"{left_out}: left out ({error})", flush=True)
    return programs


def _cores() -> tuple[int, int]:
    """The server's core and the load generator's."""
    available = sorted(os.sched_getaffinity(0))
    if len(available) == 1:
        print("only one core: server and load generator share it, and latencies mean little")
    return available[0], available[-1]


def _terminate(_number: int, _frame: FrameType | None) -> None:
    sys.exit(143)


def _print_all(results: Results, scenarios: Sequence[Scenario], servers: Sequence[Server]) -> None:
    print(f"\nMedian (smallest-largest) of the rounds; ratios to {BASELINE}, medians of the ratios within a round.")
    for scenario in scenarios:
        print(f"\n{scenario.title}\n{scenario_table(results, scenario, servers).text()}")
    print(f"\nConnections (in the crowd) and start\n{connection_table(results, servers).text()}")
    for line in filter(None, (rates_line(results), million_line(results))):
        print(f"\n{line}")
    ours = [server.name for server in servers if server.protocol == "sigd"]
    if ours:
        print(f"\nTargets\n{target_table(results, ours).text()}")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns its exit status."""
    options = _options(argv)
    # A SIGTERM must unwind the context managers, or children would outlive us.
    signal.signal(signal.SIGTERM, _terminate)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    scenarios, servers = _scenarios(options), _servers(options)
    try:
        programs = _programs(scenarios)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    scenarios = [scenario for scenario in scenarios if scenario.program in programs]
    if not servers or not scenarios:
        print("nothing to measure", file=sys.stderr)
        return 1
    server_core, load_core = _cores()
    os.sched_setaffinity(0, {load_core})  # the load generator inherits it
    about = ", ".join(f"{server.name} {server.version}".strip() for server in servers)
    print(f"{about}; Python {platform.python_version()}, {platform.system()} {platform.release()}", flush=True)
    results = measure(
        programs,
        servers,
        scenarios,
        seconds=options.seconds,
        rounds=options.rounds,
        core=server_core,
        own=not options.sigd_command and "sigd" in (server.name for server in servers),
        progress=lambda line: print(line, file=sys.stderr, flush=True),
    )
    if options.markdown:
        print(f"\n{summary_table(results, servers).markdown()}")
    else:
        _print_all(results, scenarios, servers)
    print(f"\n{noise_line(results)}")
    for failure in results.failures:
        print(f"FAILED: {failure}")
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
