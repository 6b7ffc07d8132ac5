"""The reference of all commands, from the parser of the command line."""

import argparse
from collections.abc import Iterator

from airavata_runbook import cli
from docs.sphinx.markdown import code, escaped, prose, sentence, table

HEAD = """# Commands

`airavata-runbook COMMAND`, in the virtual environment that `make setup` makes: `. .venv/bin/activate`. SITE is a name in
`parameters/` or the path of a site file. `--help` says of each command what is here;
[Command line](../docs/command-line.md) has the exit status, completion and colours.
"""


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Every command below a parser that does something itself, each as its own parser, in the order of the help."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, inner in action.choices.items():
                if inner is action.choices[inner.prog.split()[-1]] and name == inner.prog.split()[-1]:  # no alias
                    deeper = list(commands(inner))
                    yield from deeper or [inner]


def page() -> str:
    parser = cli.parser()
    parts = [HEAD, *(_command(one, _helps(parser)) for one in commands(parser))]
    general = [action for action in parser._actions if action.option_strings]
    parts += ["## Without a command\n", _table(general), _epilog(parser)]
    return "\n".join(parts)


def _helps(parser: argparse.ArgumentParser) -> dict[str, str]:
    """Program with command → the line that the help above it has for it."""
    found: dict[str, str] = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for choice in action._choices_actions:
                inner = action.choices[choice.dest]
                found |= {inner.prog: choice.help or ""} | _helps(inner)
    return found


def _command(parser: argparse.ArgumentParser, helps: dict[str, str]) -> str:
    formatter = argparse.HelpFormatter(parser.prog, width=100)
    formatter.add_usage(parser.usage, parser._actions, parser._mutually_exclusive_groups, prefix="")
    usage = formatter.format_help().strip()
    actions = [one for one in parser._actions if not isinstance(one, argparse._HelpAction)]
    said = [sentence(escaped(helps.get(parser.prog, ""))), prose(parser.description or ""), _epilog(parser)]
    return "\n\n".join([f"## {parser.prog}", *filter(None, said), f"```text\n{usage}\n```", _table(actions)]) + "\n"


def _epilog(parser: argparse.ArgumentParser) -> str:
    """What stands below the help; with its own lines where the help has them so."""
    text = (parser.epilog or "").rstrip()
    raw = issubclass(parser.formatter_class, argparse.RawDescriptionHelpFormatter)
    return f"```text\n{text}\n```\n" if raw and text else prose(text)


def _table(actions: list[argparse.Action]) -> str:
    return table(["argument", "meaning"], [[_name(one), _meaning(one)] for one in actions])


def _name(action: argparse.Action) -> str:
    value = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if not action.option_strings:
        return code(value if isinstance(action.metavar, str) else action.dest)
    names = ", ".join(action.option_strings)
    return code(names if action.nargs == 0 else f"{names} {value}")


def _meaning(action: argparse.Action) -> str:
    text = sentence(escaped((action.help or "").replace("%(prog)s", "airavata-runbook")))
    if action.choices:
        text = f"{text} One of {', '.join(code(one) for one in action.choices)}.".strip()
    return text + (" Required." if action.required and action.option_strings else "")
