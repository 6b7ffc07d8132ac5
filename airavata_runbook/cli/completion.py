"""`airavata-runbook completion SHELL`: a script that lets the shell complete commands, options, sites, chapters and hosts.

It is made from the command line's own parser and starts no Python when a key is pressed: names of sites, chapters and hosts are
read from the project's files.
"""

import argparse
import shlex
from collections.abc import Iterator
from pathlib import Path

from airavata_runbook.cli.site_command import Commands

SHELLS = {"bash": "source <(airavata-runbook completion bash)", "zsh": "source <(airavata-runbook completion zsh)"}
# What completes the value of an argument: by its choices, its metavar or its name.
KINDS = {"CHAPTER": "chapter", "FILE": "file", "DIR": "folder", "site": "site", "sites": "site", "host": "host"}
FREE = "free"  # a value that nothing is known of

Parser = argparse.ArgumentParser


def add(commands: Commands) -> None:
    text = "print a script that completes commands, sites, chapters and hosts in a shell"
    added = commands.add_parser(
        "completion",
        help=text,
        epilog="\n".join(["in ~/.bashrc or ~/.zshrc (after compinit), where airavata-runbook is on PATH:", *SHELLS.values()]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    added.add_argument("shell", choices=SHELLS)
    added.set_defaults(command=_completion)


def _completion(options: argparse.Namespace) -> None:
    from airavata_runbook.cli import parser

    print(script(options.shell, parser()), end="")


def script(shell: str, parser: Parser) -> str:
    """The script for bash or zsh that completes this command line."""
    folder = Path(__file__).parent
    known = list(_commands(parser))
    tables = {
        "steps": _cases(f'"{path} {name}") at="{path}/{name}"; number=0' for path, one in known for name in _subcommands(one)),
        "values": _cases(
            f'"{path} {option}") kind={shlex.quote(_kind(action))}'
            for path, one in known
            for action in one._actions
            if action.option_strings and action.nargs != 0
            for option in action.option_strings
        ),
        "positionals": _cases(line for path, one in known for line in _positionals(path, one)),
        "commands": _cases(f'"{path}") {_lines(found)}' for path, one in known if (found := _subcommands(one))),
        "options": _cases(f'"{path}") {_lines(_options(one))}' for path, one in known),
    }
    text = (folder / f"completion.{shell}").read_text(encoding="utf-8")
    for name, lines in {"common": (folder / "completion.sh").read_text(encoding="utf-8"), **tables}.items():
        text = text.replace(f"@{name}@\n", lines)
    return text


def _commands(parser: Parser, path: str = "") -> Iterator[tuple[str, Parser]]:
    """Every command's path, such as "/lab/ssh", with its parser; that of the whole first."""
    yield path, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, one in action.choices.items():
                yield from _commands(one, f"{path}/{name}")


def _subcommands(parser: Parser) -> dict[str, str]:
    """Name → what it does."""
    groups = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    return {one.dest: one.help or "" for group in groups for one in group._choices_actions}


def _options(parser: Parser) -> dict[str, str]:
    """Option → what it does; of several names of one the longest, as --output for -o."""
    return {max(one.option_strings, key=len): one.help or "" for one in parser._actions if one.option_strings}


def _positionals(path: str, parser: Parser) -> Iterator[str]:
    """What each argument that is no option is completed with, by its number from 0."""
    found = [one for one in parser._actions if not one.option_strings and not isinstance(one, argparse._SubParsersAction)]
    for number, action in enumerate(found):
        which = "*" if action.nargs in ("*", "+") else str(number)
        yield f'"{path}"/{which}) kind={shlex.quote(_kind(action))}'


def _kind(action: argparse.Action) -> str:
    if action.choices:
        return "one of " + " ".join(action.choices)
    return KINDS.get(str(action.metavar), KINDS.get(action.dest, FREE))


def _lines(found: dict[str, str]) -> str:
    """The command that prints words with their descriptions."""
    return "printf '%s\\t%s\\n' " + " ".join(shlex.quote(part) for word, text in found.items() for part in (word, text))


def _cases(lines: Iterator[str]) -> str:
    return "".join(f"        {line} ;;\n" for line in lines)
