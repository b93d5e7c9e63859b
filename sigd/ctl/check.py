"""`sigctl check`: faults of a configuration and of the machine around it, with place and remedy."""

import argparse
import os
import time
from typing import TYPE_CHECKING

from sigd.ctl.command_line import DEFAULT_CONFIG, EXIT_NO_DAEMON, EXIT_REFUSED, Commands, EndedError
from sigd.ctl.printing import finding, put, put_json
from sigd.ctl.quantities import plural
from sigd.terminal import EXIT_FAULT
from sigd.text import escaped

if TYPE_CHECKING:
    from sigd.admin.replies import Finding, StatusReply
    from sigd.config import Config, Fault

TEXT = """\
Finds mistakes, with their places and remedies. It checks the configuration
(file, line and column of every fault) and the secrets, keys and certificates
that it names; certificates that expire soon; modes and owners of files;
systemd's sockets; file descriptors for all connections; the clock; the group
and the admin socket; missing packages; ports in use. It also shows the
findings of a running daemon. It changes nothing.

Without --config it checks the file of the running daemon, or
/etc/sigd/sigd.toml. Run it as root to include all checks.
"""

EXAMPLES = """\
  sudo sigctl check
  sigctl check --config new.toml
  sigctl check && sigctl reload
"""


def describe(commands: Commands) -> None:
    """Add the command of this module."""
    check = commands.add(
        "check", _check, summary="find mistakes, with places and remedies", text=TEXT, examples=EXAMPLES
    )
    check.add_argument("--config", metavar="FILE", help="the configuration to check")


class _Report:
    """The result of a check.

    Attributes:
        path: path of the configuration; None: all defaults.
        daemon: status of the running daemon, if it answers.
        digest: digest of a configuration without faults.
        faults: faults of the configuration.
        findings: all other findings.
    """

    def __init__(self, path: str | None, daemon: "StatusReply | None") -> None:
        self.path = path
        self.daemon = daemon
        self.digest: str | None = None
        self.faults: list[Fault] = []
        self.findings: list[Finding] = []


def _check(options: argparse.Namespace) -> int:
    daemon, trouble = _running(options.socket)
    path = options.config or (daemon.config_file if daemon else DEFAULT_CONFIG)
    report = _Report(path, daemon)
    report.findings += trouble
    _look(report, options.socket)
    printed = put_json(_document(report)) if options.json else put(_lines(report))
    return printed or (EXIT_FAULT if report.faults else EXIT_REFUSED if report.findings else 0)


def _running(path: str) -> "tuple[StatusReply | None, list[Finding]]":
    """Return the status of the running daemon, and a finding if it runs but does not answer."""
    from sigd.admin.questions import AskStatus
    from sigd.admin.replies import Finding, StatusReply
    from sigd.ctl.ask import ask, running_daemons

    try:
        return ask(path, AskStatus(), StatusReply)[0], []
    except EndedError as fault:
        if fault.status == EXIT_NO_DAEMON and not running_daemons():
            return None, []
        advice = "the findings of the running daemon were not checked"
        return None, [Finding(code="daemon-silent", severity="warn", text=str(fault), advice=advice)]


def _look(report: _Report, socket_path: str) -> None:
    # They import socket modules, which the help does not need.
    from sigd.ctl import named_files, surroundings, units

    now = time.time()
    daemon, found = report.daemon, report.findings
    config = _configuration(report)
    found += surroundings.clock_findings(now)
    if config is not None:
        pid = daemon.pid if daemon else None
        reader = named_files.reader_of(pid, config.admin.group) if daemon or report.path == DEFAULT_CONFIG else None
        found += named_files.certificate_findings(config, now)
        unit_files = units.units()
        if unit_files is not None and units.belongs(report.path, unit_files):
            found += units.socket_findings(config, unit_files)
            found += units.running_findings(daemon, unit_files) if daemon else ()
            found += units.memory_findings(config, unit_files)
        found += named_files.permission_findings(config, report.path, reader)
        found += surroundings.descriptor_findings(config, daemon.max_descriptors if daemon else None)
        found += surroundings.extra_findings(config)
        found += surroundings.admin_findings(config, socket_path)
        if daemon is None and not any(each.code == "daemon-silent" for each in found):
            found += surroundings.port_findings(config)
    if daemon is not None:
        known = {each.code for each in found}
        found += [each for each in daemon.findings if each.code not in known]
    found.sort(key=lambda each: each.severity != "fail")


def service_findings(config: "Config", path: str | None) -> "list[Finding]":
    """Find obstacles between the service and its own configuration: sockets and permissions."""
    from sigd.ctl import named_files, units

    found = units.units()
    if found is None or not units.belongs(path, found):
        return []
    reader = named_files.reader_of(None, config.admin.group)
    return [
        *units.socket_findings(config, found),
        *named_files.permission_findings(config, path, reader),
        *units.memory_findings(config, found),
    ]


def _configuration(report: _Report) -> "Config | None":
    """Return the configuration, with the files it names read as at a start; None if it has faults itself."""
    from sigd.config import ConfigError, digest, load
    from sigd.rules.made import Rules

    try:
        config = load(report.path)
    except ConfigError as error:
        report.faults += error.faults
        return None
    try:
        Rules(config)
    except ConfigError as error:
        report.faults += [fault for fault in error.faults if not is_credential(fault.where)]
        report.findings += map(_unseen, (fault.where for fault in error.faults if is_credential(fault.where)))
    if not report.faults:
        report.digest = digest(config)
    return config


def is_credential(where: str) -> bool:
    """Return whether a fault concerns a credential that systemd passes to the daemon alone."""
    plain = not set(where) & set('/:[]". ')
    return plain and "CREDENTIALS_DIRECTORY" not in os.environ


def _unseen(name: str) -> "Finding":
    from sigd.admin.replies import Finding

    text = f"{name} is a credential that systemd passes to the daemon alone (LoadCredential=): not checked"
    advice = "`systemctl cat sigd` shows its file; sigd reports its faults at start"
    return Finding(code="credential-unseen", severity="warn", text=text, advice=advice)


# ---------------------------------------------------------------------------------------------------------------------
# Output


def _document(report: _Report) -> dict[str, object]:
    import msgspec

    daemon = report.daemon
    return {
        "type": "check",
        "config": report.path,
        "configuration": report.digest,
        "daemon": {"pid": daemon.pid, "configuration": daemon.configuration} if daemon else None,
        "faults": [{"where": fault.where, "what": fault.what} for fault in report.faults],
        "findings": msgspec.to_builtins(report.findings),
    }


def _lines(report: _Report) -> list[str]:
    # One line per fault, so that editors can jump to its place.
    lines = [escaped(str(fault)) for fault in report.faults]
    for found in report.findings:
        lines += finding(found.severity, found.text, found.advice)
    told: list[str] = []
    if report.faults:
        told.append(f"{plural(len(report.faults), 'fault')} in the configuration")
    if report.findings:
        told.append(plural(len(report.findings), "finding"))
    what = ", ".join(told) or "no findings"
    config = f"{report.path or 'all defaults'}{f' ({report.digest})' if report.digest else ''}"
    runs = "sigd is not running"
    if report.daemon is not None:
        runs = f"sigd runs {report.daemon.configuration}, pid {report.daemon.pid}"
    elif any(found.code == "daemon-silent" for found in report.findings):
        runs = "sigd does not answer"
    return [*lines, escaped(f"{what}: {config}; {runs}")]
