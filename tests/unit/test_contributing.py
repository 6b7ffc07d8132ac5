"""The examples of CONTRIBUTING.md are executed where it says that they belong."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airavata_runbook import Site
from airavata_runbook.checks import facts as check_facts
from airavata_runbook.checks import preflight, table
from airavata_runbook.hosts import facts
from airavata_runbook.hosts.host import Host
from tests.unit.sessions import answer_batch
from tests.unit.test_preflight import answers

PROJECT = Path(__file__).parents[2]
TEXT = (PROJECT / "CONTRIBUTING.md").read_text()


def executed(block: str, module) -> dict[str, Any]:
    """The names of a module after a block of code at its end, without changing the module."""
    names = dict(vars(module))
    exec(block, names)
    return names


@pytest.mark.parametrize(
    ("output", "found"),
    [("3600.00 7000.00", []), ("59.1 100.0", ["up for 59 s"]), ("soon", ["unexpected probe output: soon"])],
)
def test_the_fact_and_the_check_work_as_they_are_written(monkeypatch, output, found):
    fact_block, check_block = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    uptime = executed(fact_block, facts)["HOST_FACTS"][-1]
    check = executed(check_block, SimpleNamespace(**vars(table) | {"facts": SimpleNamespace(Uptime=type(uptime))}))["CHECKS"][-1]
    monkeypatch.setattr(check_facts, "HOST_FACTS", (*facts.HOST_FACTS, uptime))
    monkeypatch.setattr(preflight, "CHECKS", (*table.CHECKS, check))
    site = Site.load("lab", {"ignore_checks": ["uptime"]})
    monkeypatch.setattr(Host, "run", lambda host, script: answer_batch(script, answers(site, host.name) | {"Uptime": output}))
    monkeypatch.setattr(Host, "check_forward", lambda *_: None)
    findings = [one for one in preflight.preflight(site) if one.check == "uptime"]
    assert [(one.host, one.found) for one in findings] == [(name, text) for name in ("master", "worker") for text in found]
    assert all(one.ignored and one.needed and one.remedy for one in findings)


def test_every_path_and_make_target_that_is_named_exists():
    package = PROJECT / "airavata_runbook"
    for path in re.findall(r"`([\w/]+(?:\.py|\.toml|/))`", TEXT):
        assert (PROJECT / path).exists() or (package / path).exists(), path
    for path in re.findall(r"\]\(([^)]+)\)", TEXT):
        assert (PROJECT / path).exists(), path
    targets = re.findall(r"^(\w+):", (PROJECT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"`make (\w+)`", TEXT)) <= set(targets)


def test_the_layout_names_every_package():
    packages = {path.name for path in (PROJECT / "airavata_runbook").iterdir() if (path / "__init__.py").is_file()}
    assert packages == set(re.findall(r"`(\w+)/`", TEXT))
