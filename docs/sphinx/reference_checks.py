"""The reference of the preflight checks: what each requires, and what it finds with the remedy, from the table and its source."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import partial
from types import FunctionType

from airavata_runbook.checks.table import CHECKS
from airavata_runbook.checks.types import Check, ConnectionCheck, HostCheck, PeerCheck, SessionCheck, SiteCheck
from airavata_runbook.errors import ForwardForbidden, HostUnreachable
from docs.sphinx.markdown import escaped
from tests import messages

HEAD = """# Preflight checks

`airavata-runbook check SITE` runs them and changes nothing; so does chapter [01-network](../notebooks/01-network.ipynb), the
first of every run and plan. `airavata-runbook check SITE --offline` runs those of the site file alone. All problems are reported
at once, each with what was found, what is needed and the remedy. A check that fails stops a run; a note does not. To accept a
finding, name its check in the site file: `ignore_checks: [swap]`.

Below each check is what it can find, as its source has it: `{…}` is filled in, `a | b` is one of two texts. Where nothing is, the
message is that of the library or of the host.
"""
KINDS = {
    SessionCheck: "the SSH session with each host",
    ConnectionCheck: "the SSH connection to each host",
    HostCheck: "each host",
    PeerCheck: "hosts, compared with each other",
    SiteCheck: "the site file and what it names; without any host",
}
# Check → the errors whose parts its problems have.
RAISED = {"forwarding": ForwardForbidden, "reachable": HostUnreachable}
# Modules whose functions a check's own calls, and whose problems are its findings.
BESIDE = (
    "airavata_runbook.checks",
    "airavata_runbook.hosts.node_settings",
    "airavata_runbook.mirror.catalogue",
    "airavata_runbook.pki",
    "airavata_runbook.site",
)


def page() -> str:
    return "\n".join([HEAD, *(_check(one) for one in CHECKS)])


def _check(check: Check) -> str:
    found = list(dict.fromkeys(problems(check)))
    blocks = "```text\n" + "\n\n".join(found) + "\n```\n" if found else ""
    return f"## {check.name}\n\n- **Requirement**: {escaped(check.requirement)}\n- **Looks at**: {KINDS[type(check)]}\n\n{blocks}"


def problems(check: Check) -> Iterator[str]:
    """What a check can find, a text each with found, needed and remedy."""
    if error := RAISED.get(check.name) or getattr(check, "error", None):
        yield from _errors(error)
    else:
        yield from (block for block in _found_by(check.find, set()) if _says(block))  # type: ignore[attr-defined]


def _says(block: str) -> bool:
    """Whether it has words of its own about what was found, beside what is filled in."""
    first = re.search(r"(?m)^ *(?:found|problem): +(.*)$", block)
    return bool(re.sub(r"\{[^{}]*\}|[\W_]", "", first[1] if first and block.startswith(first[0]) else block.partition("\n")[0]))


def _errors(error: type[Exception]) -> Iterator[str]:
    """The messages of the package that are of this kind."""
    for block in messages.blocks():
        if block.startswith(f"{error.__name__}:"):
            yield _text(block, [])


def _found_by(function: object, seen: set[object]) -> Iterator[str]:
    """The problems that a function yields, and those that it calls of the checks' modules."""
    given: list[str] = []
    while isinstance(function, partial):
        given += [one for one in function.args if isinstance(one, str)]
        function = function.func
    if not isinstance(function, FunctionType) or function in seen or not function.__module__.startswith(BESIDE):
        return
    seen.add(function)
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    for block in messages.blocks_of(tree, function.__module__):
        yield _text(block, given)
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield from _found_by(function.__globals__.get(node.id), seen)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            yield from _found_by(getattr(function.__globals__.get(node.value.id), node.attr, None), seen)


def _text(block: str, given: list[str]) -> str:
    """A message without the name of its class. given: texts of the table for this check, of which the last is the remedy."""
    first, _, parts = block.partition("\n")
    message = first.partition(": ")[2]
    parts = parts.replace("{remedy}", given[-1]) if given else parts
    return f"{message}\n{parts}" if message else textwrap.dedent(parts)
