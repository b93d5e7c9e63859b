"""Usage, options and commands of an argparse parser as plain text, for the man pages and for `docs/made`."""

import argparse
import re
from typing import NamedTuple, cast


class Option(NamedTuple):
    """An option, or, without names, an argument; `taken` is empty for a flag."""

    names: tuple[str, ...]
    taken: str
    text: str


def usage(parser: argparse.ArgumentParser) -> str:
    """Return the usage line in one form: argparse's own form differs between versions of Python."""
    group_of = {action: group for group in parser._mutually_exclusive_groups for action in group._group_actions}
    parts = [parser.prog]
    for action in sorted(parser._actions, key=lambda action: not action.option_strings):
        if action.help is argparse.SUPPRESS:
            continue
        group = group_of.get(action)
        if group is None:
            is_optional = action.option_strings and not action.required
            parts.append(f"[{_typed(action)}]" if is_optional else _typed(action))
        elif action is group._group_actions[0]:
            typed = [(each.option_strings, _typed(each)) for each in group._group_actions]
            either = " | ".join(text if named else text.strip("[]") for named, text in typed)
            parts.append(f"({either})" if group.required else f"[{either}]")
    return " ".join(parts)


def _typed(action: argparse.Action) -> str:
    """Return an option or an argument as it is typed."""
    if isinstance(action.metavar, str):
        taken = action.metavar
    elif action.choices is not None:
        taken = "{" + ",".join(map(str, action.choices)) + "}"
    else:
        taken = action.dest.upper() if action.option_strings else action.dest
    shapes: dict[int | str | None, str] = {
        0: "",
        "?": f"[{taken}]",
        "*": f"[{taken} ...]",
        "+": f"{taken} [{taken} ...]",
        "A...": f"{taken} ...",
    }
    return " ".join(filter(None, [*action.option_strings[:1], shapes.get(action.nargs, taken)]))


def commands(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    """Return the commands that the parser's help lists."""
    found: list[argparse.ArgumentParser] = []
    for action in parser._actions:
        choices: object = action.choices
        if isinstance(choices, dict):
            values = cast("dict[str, object]", choices).values()
            found += [command for command in values if isinstance(command, argparse.ArgumentParser)]
    return found


def options(parser: argparse.ArgumentParser) -> list[Option]:
    """Return the options and arguments that the parser's help lists."""
    return [
        _option(action, parser.prog)
        for action in parser._actions
        if not isinstance(action.choices, dict) and action.help is not argparse.SUPPRESS
    ]


def _option(action: argparse.Action, program: str) -> Option:
    taken = action.metavar if isinstance(action.metavar, str) else action.dest
    text = " ".join((action.help or "").replace("%(prog)s", program).replace("%%", "%").split())
    return Option(tuple(action.option_strings), "" if action.nargs == 0 else taken, text)


def sections(epilog: str | None) -> list[tuple[str, str]]:
    """Return the sections behind the options: each has a title, a colon behind it, and indented lines."""
    return re.findall(r"^(\w[\w ]*):\n((?:[ ].*\n?|\n(?=[ ]))+)", epilog or "", flags=re.MULTILINE)
