"""The reference of facts: what the runbook looks at on a host, with the commands, from the facts of the site `lab`."""

import inspect
import textwrap
from typing import Any

from airavata_runbook import Site
from airavata_runbook.checks.facts import preflight_facts
from airavata_runbook.hosts.facts import HOST_FACTS
from airavata_runbook.hosts.snapshot import Fact
from docs.sphinx.markdown import prose

HEAD = """# Facts: what is looked at on a host

A fact is a command that changes nothing, and what is read from its output. All that a step needs are gathered in one round
trip, as root and in the C locale. [Preflight checks](checks.md) and the settings of the kubelet and of others follow from them.
Names and paths below are those of the site [lab](../parameters/lab.yaml).
"""


def page() -> str:
    parts = [HEAD, "## Of every step\n", *map(_fact, HOST_FACTS), "## Of the preflight checks\n"]
    return "\n".join([*parts, *(_fact(one) for one in facts() if one not in HOST_FACTS)])


def facts() -> list[Fact[Any]]:
    """All that are gathered of a host."""
    site = Site.load("lab")
    return preflight_facts(site, site.master)


def _fact(fact: Fact[Any]) -> str:
    text = prose(inspect.getdoc(type(fact)) or "")
    return f"### {fact.name}\n\n{text}\n\n~~~~~~~~sh\n{textwrap.dedent(fact.command).strip()}\n~~~~~~~~\n"
