"""`sigctl completion` and the requests of its scripts: words that fit here, including peer IDs."""

import argparse
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sigd.ctl.command_line import PROGRAM, Commands, EndedError
from sigd.terminal import put_out

TEXT = """\
Prints a completion script for a shell. It completes commands, options, error
codes, and the IDs of currently registered peers.
"""

EXAMPLES = """\
  source <(sigctl completion bash)
  sigctl completion bash > /etc/bash_completion.d/sigctl
  sigctl completion zsh > ~/.zfunc/_sigctl
  sigctl completion fish > ~/.config/fish/completions/sigctl.fish
"""

# The shell never evaluates any output of sigctl.
SCRIPTS: Final = {
    "bash": """\
# bash completion for sigctl: made by `sigctl completion bash`
_sigctl() {
    mapfile -t COMPREPLY < <(sigctl complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o bashdefault -o default -F _sigctl sigctl
""",
    "zsh": """\
#compdef sigctl
# zsh completion for sigctl: made by `sigctl completion zsh`
_sigctl() {
    local -a found
    found=("${(@f)$(sigctl complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    if [[ -n "$found" ]]; then compadd -- "${found[@]}"; else _files; fi
}
if [[ "$funcstack[1]" == _sigctl ]]; then _sigctl "$@"; else compdef _sigctl sigctl; fi
""",
    "fish": """\
# fish completion for sigctl: made by `sigctl completion fish`
function __sigctl_complete
    set -l words (commandline -opc) (commandline -ct)
    sigctl complete -- $words[2..-1] 2>/dev/null
end
complete -c sigctl -f -a '(__sigctl_complete)'
complete -c sigctl -l config -l secret-file -l socket -rF
""",
}

_MOST: Final = 500
"""Maximum number of words: nobody reads more, and shells ask before they show half as many."""

_PATIENCE: Final = 1.0
"""Maximum seconds that a TAB may take."""

# Peer IDs as on the wire; nothing else goes to a shell.
_PEER: Final = re.compile(r"[A-Za-z0-9_.~-]{1,64}")


def describe(commands: Commands) -> None:
    """Add the command of this module."""
    completion = commands.add(
        "completion",
        _completion,
        summary="print a shell completion script",
        text=TEXT,
        examples=EXAMPLES,
        writes=None,
        asks=False,
    )
    completion.add_argument("shell", metavar="SHELL", choices=list(SCRIPTS), help="bash, zsh or fish")


def _completion(options: argparse.Namespace) -> int:
    script = SCRIPTS[options.shell]
    if options.json:
        from sigd.ctl.printing import put_json

        return put_json({"type": "completion", "shell": options.shell, "script": script})
    return put_out(PROGRAM, script)


def complete(parser: argparse.ArgumentParser, words: Sequence[str]) -> int:
    """Print the words that fit in place of the last one, one per line; return the exit status.

    Args:
        parser: the parser of all commands.
        words: the command line after `sigctl`, up to the word being typed, which may be empty.
    """
    *before, last = words or [""]
    fitting = sorted({word for word in _candidates(parser, before, last) if word.startswith(last)})
    return put_out(PROGRAM, "".join(f"{word}\n" for word in fitting[:_MOST]))


def _candidates(parser: argparse.ArgumentParser, before: Sequence[str], last: str) -> Iterator[str]:
    commands = _commands_of(parser)
    if not before:
        yield from commands
        if last.startswith("-"):
            yield from _options_of(parser)
        return
    command = commands.get(before[0])
    if command is None:
        return
    awaited = _awaited(command, before[1:])
    if awaited is None or (last.startswith("-") and not awaited.option_strings):
        yield from _options_of(command) if last.startswith("-") else ()
        return
    yield from _values_of(awaited, before, last)


# These members of argparse are private by name only; there is no public way to list the actions.
def _actions_of(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    actions: list[argparse.Action] = vars(parser)["_actions"]
    return actions


def _commands_of(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    for action in _actions_of(parser):
        if action.metavar == "COMMAND":
            commands: dict[str, argparse.ArgumentParser] = vars(action)["choices"]
            return commands
    return {}


def _options_of(parser: argparse.ArgumentParser) -> list[str]:
    return [option for action in _actions_of(parser) for option in action.option_strings if option.startswith("--")]


def _awaited(command: argparse.ArgumentParser, words: Sequence[str]) -> argparse.Action | None:
    """Return the argument whose value comes next: that of the preceding option, or the next positional one."""
    options = {option: action for action in _actions_of(command) for option in action.option_strings}
    places = [action for action in _actions_of(command) if not action.option_strings]
    wanting: argparse.Action | None = None
    for word in words:
        if wanting is not None:
            wanting = None
        elif word.startswith("-"):
            named = options.get(word)
            wanting = named if named is not None and named.nargs != 0 else None
        elif places and places[0].nargs != "*":
            del places[0]
    return wanting or (places[0] if places else None)


def _values_of(awaited: argparse.Action, before: Sequence[str], last: str) -> Iterator[str]:
    choices: Iterable[str] | None = vars(awaited)["choices"]
    if choices is not None:
        yield from choices
    elif awaited.metavar == "CODE":
        from sigd.wire.errors import ErrorCode

        yield from ErrorCode
    elif awaited.metavar in {"PEER", "GLOB"} and not awaited.option_strings:
        yield from _peers(before, last)


def _peers(before: Sequence[str], last: str) -> list[str]:
    """Return registered peers whose IDs begin like this; none if no daemon answers."""
    import os

    from sigd.admin.questions import AskPeers
    from sigd.admin.replies import PeersReply
    from sigd.ctl.ask import ask
    from sigd.ctl.command_line import DEFAULT_SOCKET, SOCKET_VARIABLE

    named = [path for option, path in itertools.pairwise(before) if option == "--socket"]
    path = named[-1] if named else os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET
    if last and not _PEER.fullmatch(last):
        return []
    try:
        reply, _ = ask(path, AskPeers(glob=f"{last}*"), PeersReply, _PATIENCE)
    except EndedError:
        return []
    return [peer.id for peer in reply.peers if _PEER.fullmatch(peer.id)]
