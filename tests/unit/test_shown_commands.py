"""Every command that a document, a notebook or a message shows exists, with the options that it is shown with."""

import argparse
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import pytest

from airavata_runbook import cli
from docs.sphinx.sources import PROJECT, README, documents, markdown_of
from tests import messages

# What has been is not what is: of the changelog only what is not released yet.
PAGES = [README, *documents()]
BLOCK = re.compile(r"(?ms)^ *(`{3,}|~{3,})(\w*)\n(.*?)^ *\1 *$")
INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
OWN = re.compile(r"(?<![\w/~.-])(?:\.venv/bin/)?airavata-runbook (?=[\w-])(.*)")
END = re.compile(r"\s#|[|;&<>()`]|\s\d?>")  # of a command in a line of shell
PLACEHOLDER = re.compile(r"[A-Z][A-Z_-]*|.*[…{}].*")
PATH = re.compile(r"(?<![\w/~.:*-])((?:airavata_runbook|tests|benchmarks|docs)/[\w./-]*\w)(?![\w*/…{])")


class Refused(Exception):
    """A command that the parser does not take."""


class Parser(argparse.ArgumentParser):
    def error(self, message):
        raise Refused(message)


@cache
def parser() -> argparse.ArgumentParser:
    found = cli.parser()
    pending = [found]
    while pending:
        one = pending.pop()
        one.__class__ = Parser
        pending += [
            inner
            for action in one._actions
            if isinstance(action, argparse._SubParsersAction)
            for inner in action.choices.values()
        ]
    return found


def commands_of(one: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    return next((action.choices for action in one._actions if isinstance(action, argparse._SubParsersAction)), {})


def code_of(page: str) -> Iterator[tuple[str, bool]]:
    """A line of code on a page, and whether it is one of a block, which people copy."""
    text = markdown_of(page)
    if page == "CHANGELOG.md":
        text = re.split(r"(?m)^## ", text)[1]
    for _, _, block in BLOCK.findall(text):
        for line in re.sub(r"\\\n\s*", "", block).splitlines():
            yield line, True
    for line in INLINE.findall(BLOCK.sub("", text)):
        yield " ".join(line.split()), False


def shown(line: str, block: bool) -> Iterator[str]:
    """The commands of the runbook in a line of code; without its name, `reset SITE --data` is one too in a sentence."""
    for command in OWN.findall(line):
        yield from OWN.findall(command)  # $(airavata-runbook …) within another
        yield END.split(command)[0].strip()
    first, *rest = line.split() or [""]
    if not block and first in commands_of(parser()) and any(word == "SITE" or word.startswith("--") for word in rest):
        yield line


def unknown(words: list[str]) -> str:
    """The first word that is no command, or no option of its command; "" if there is none."""
    one = parser()
    for word in words:
        inner = commands_of(one)
        if word == "--" or inner and PLACEHOLDER.fullmatch(word):  # airavata-runbook COMMAND
            break
        if word.startswith("-"):
            if word.partition("=")[0] not in one._option_string_actions:
                return f"{one.prog} has no {word}"
        elif inner and word not in inner:
            return f"{one.prog} has no command {word}"
        else:
            one = inner.get(word, one)
    return ""


def problem(command: str, block: bool) -> str:
    """What is wrong with a command; "" if nothing is. In a sentence arguments may be left out."""
    words = shlex.split(command)
    if (found := unknown(words)) or "…" in command or words[-1] in ("--help", "--version") or PLACEHOLDER.fullmatch(words[0]):
        return found
    try:
        parser().parse_args(words)
    except Refused as error:
        return str(error) if block or "required" not in str(error) else ""
    return ""


@pytest.mark.parametrize("page", PAGES)
def test_each_command_of_the_runbook_is_one_that_it_takes(page):
    wrong = []
    for line, block in code_of(page):
        for command in shown(line, block):
            if found := problem(command, block):
                wrong.append(f"{command}: {found}")
    assert wrong == []


def test_each_command_in_a_message_is_one_that_the_runbook_takes():
    """A sentence goes on after it, so that only its name and its options are looked at."""
    texts = (re.sub(r"\{[^{}]*\}", "NAME", message) for message in messages.blocks())
    shown = [re.findall(r"[\w.-]+", command) for text in texts for command in OWN.findall(text)]
    assert len(shown) >= 20 and [found for words in shown if (found := unknown(words))] == []


@pytest.mark.parametrize("page", PAGES)
def test_each_target_of_make_and_each_module_exists(page):
    makefile = (PROJECT / "Makefile").read_text().replace("\\\n", "")
    targets = re.search(r"(?m)^\.PHONY: (.*)$", makefile)[1].split()
    wrong = []
    for line, _ in code_of(page):
        for words in re.findall(r"(?:^|[\s;&])make ((?:[\w-]+(?:=\S+)?\s*)+)", line):
            for word in words.split("#")[0].split():
                name, is_variable, _ = word.partition("=")
                wrong += [word] if (f"$({name})" not in makefile if is_variable else name not in targets) else []
        wrong += [
            name for name in re.findall(r"\bpython3? -m ([\w.]+)", line) if name not in ("venv", "pip") and not find_spec(name)
        ]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES)
def test_each_path_of_the_project_exists(page):
    wrong = []
    for line, _ in code_of(page):
        for path in PATH.findall(line):
            if "NAME" not in path and not any((root / path).exists() for root in (PROJECT, PROJECT / "airavata_runbook")):
                wrong.append(path)
    assert wrong == []


@pytest.mark.parametrize(
    ("command", "needed"),
    [
        ("run lab --form 03", "has no --form"),
        ("chekc lab", "has no command chekc"),
        ("lab upp", "has no command upp"),
        ("backup SITE", "required"),
        ("bundle SITE -o FILE --packages apk", "invalid choice"),
        ("kubeconfig", "required"),
    ],
)
def test_a_command_that_does_not_exist_is_found(command, needed):
    assert needed in problem(command, True)


def test_commands_are_found_where_they_are_shown():
    line = "export KUBECONFIG=$(airavata-runbook kubeconfig lab)    # through an SSH forward"
    assert list(shown(line, True)) == ["kubeconfig lab"]
    assert list(shown("reset SITE --dta", False)) == ["reset SITE --dta"] and problem("reset SITE --dta", False)
    assert sum(1 for page in PAGES for line, block in code_of(page) for _ in shown(line, block)) > 60
