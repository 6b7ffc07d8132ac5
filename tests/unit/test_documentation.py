"""The documentation as a site, without building it: what is on its pages, in its navigation and in its reference."""

import argparse
import re
from fnmatch import fnmatchcase

import pytest

from airavata_runbook import cli
from airavata_runbook.chapters import MODULES, steps_of
from airavata_runbook.checks.table import CHECKS
from airavata_runbook.site.life import lives
from docs.sphinx import build, reference, reference_checks, reference_commands, reference_facts, reference_fields, reference_steps
from docs.sphinx.sources import BELOW, PROJECT, START, Links, documents, readme_sections, stage
from tests import messages


@pytest.fixture(scope="module")
def generated() -> dict[str, str]:
    return reference.generated()


def entries() -> list[str]:
    """The pages that the navigation names, with patterns."""
    blocks = re.findall(r"(?ms)^```\{toctree\}\n(.*?)^```", START.read_text())
    lines = [line for block in blocks for line in block.splitlines() if line and not line.startswith(":")]
    return [*(re.sub(r"^.*<(.*)>$", r"\1", line) for line in lines), *BELOW.values()]


def test_every_page_is_in_the_navigation_once():
    pages = {path.rpartition(".")[0] for path in [*documents(), *reference.PAGES]} | set(readme_sections()) - {""}
    named = {
        page: [
            entry for entry in entries() if fnmatchcase(page, entry) and ("*" not in entry or page.count("/") == entry.count("/"))
        ]
        for page in pages
    }
    wrong = {page: found for page, found in named.items() if len(found) != 1}
    assert wrong == {}, f"name it in one group of {START.relative_to(PROJECT)}, once"
    assert [entry for entry in entries() if "*" not in entry and entry not in pages] == [], "there is no such page"


def headings(text: str) -> set[str]:
    return {heading.strip("`") for heading in re.findall(r"(?m)^##+ (.+)$", text)}


def test_the_reference_has_every_field_of_a_site_file(generated):
    wanted = {field for field in lives() if not field.startswith("nodes.ssh.")}
    shown = {re.sub(r"\.NAME(?=\.|$)", "", heading) for heading in headings(generated["parameters/fields.md"])}
    assert wanted - shown == set()
    assert set(lives()) >= wanted and len(wanted) > 80


def test_a_field_is_described_by_the_docstring_of_its_part():
    found = reference_fields.page()
    assert "### `registry.pull_port`\n\nOn which the hosts pull" in found
    assert re.search(r"### `ssh.port`\n\n- \*\*Value\*\*: a whole number from 1 to 65535\n- \*\*Default\*\*: `22`\n", found)
    assert re.search(r"### `name`\n\n- \*\*Value\*\*: lower-case letters.*required\n- \*\*May change\*\*: fixed", found)


def test_the_reference_has_every_command_with_all_its_options(generated):
    text = generated["reference/commands.md"]
    for command in reference_commands.commands(cli.parser()):
        section = text.split(f"## {command.prog}\n", 1)[1].split("\n## ")[0]
        for action in command._actions:
            if not isinstance(action, argparse._HelpAction):
                for name in action.option_strings or [action.metavar or action.dest]:
                    assert f"`{name}" in section or f", {name}" in section, f"{command.prog}: {name}"
    assert {"airavata-runbook run", "airavata-runbook lab up"} <= headings(text)
    assert re.findall(r"(?m)^\| (\S+) \|\s+\|$", text) == [], "an argument without a help"


def test_the_reference_has_every_check_with_its_remedies(generated):
    assert {check.name for check in CHECKS} == headings(generated["reference/checks.md"])
    by_name = {check.name: "\n".join(reference_checks.problems(check)) for check in CHECKS}
    assert "timedatectl set-ntp true" in by_name["clock"]
    assert "hostnamectl set-hostname NAME" in by_name["hostname"], "a remedy of the table"
    assert "sshd refused the connection" in by_name["reachable"], "an error in its place"
    assert "the mirror does not build these versions" in by_name["versions"], "of a function in another module"
    assert [name for name, text in by_name.items() if not text] == ["architecture", "settings"], "what has no words of its own"


def test_the_reference_has_every_step_and_kind_of_resource(generated):
    text = generated["reference/steps.md"]
    for notebook, module in MODULES.items():
        assert all(f"`{module}.{step.__name__}`" in text for step in steps_of(notebook)), notebook
    assert {kind.__name__ for kind in reference_steps.kinds()} <= headings(text)
    assert re.search(r"(?m)^\| `install.packages` \| Packages.*\| every host \| Packages, ", text)


def test_the_reference_has_every_fact_with_its_command(generated):
    text = generated["reference/facts.md"]
    assert {fact.name for fact in reference_facts.facts()} <= headings(text)
    assert "### Hostname\n\nThe name that the host gives itself.\n\n~~~~~~~~sh\nuname -n\n" in text


def test_the_variables_of_the_environment_are_documented():
    """But for those that the runner sets for its kernels."""
    own = set(re.findall(r"AIRAVATA_RUNBOOK_\w+", (PROJECT / "airavata_runbook/kernel_env.py").read_text()))
    read = {
        name
        for path in (PROJECT / "airavata_runbook").rglob("*.py")
        for name in re.findall(r"[\"'](AIRAVATA_RUNBOOK_\w+)[\"']", path.read_text())
    }
    documented = set(re.findall(r"AIRAVATA_RUNBOOK_\w*[A-Z]", (PROJECT / "docs/command-line.md").read_text()))
    assert read - own | {"AIRAVATA_RUNBOOK_SITE"} == documented


def test_the_reference_has_every_message(generated):
    assert generated["reference/messages.md"] == messages.page()


def test_links_lead_to_the_pages_of_the_site():
    shown = []
    own = Links({"parameters/fields.md": ""}, lambda target: shown.append(target) or "/shown.md")
    assert own.target("docs/runs.md", "README.md") == "/docs/runs.md"
    assert own.target("#glossary", "README.md") == "/readme/glossary.md", "a section of README.md is a page"
    assert own.target("../README.md#your-own-hosts", "docs/runs.md") == "/readme/your-own-hosts.md"
    assert own.target("../README.md", "docs/runs.md") == "/index.md"
    assert own.target("../parameters/fields.md", "docs/changing.md") == "/parameters/fields.md"
    assert own.target("https://example.org/#a", "README.md") == "https://example.org/#a"
    assert own.target("parameters/lab.yaml", "README.md") == "/shown.md" and shown == [PROJECT / "parameters/lab.yaml"]
    text = "`[a](docs/runs.md)` [a](docs/runs.md)\n```\n[a](docs/runs.md)\n```\n"
    assert own.rewritten(text, "README.md") == text.replace(" [a](docs", " [a](/docs")


def test_all_sources_are_written_and_a_second_time_nothing(tmp_path):
    stage(tmp_path, {"reference/one.md": "# One\n"})
    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    names = {path.relative_to(tmp_path).as_posix() for path in written}
    assert {"index.md", "readme/glossary.md", "docs/runs.md", "notebooks/01-network.ipynb", "reference/one.md"} <= names
    assert "files/parameters/lab.yaml.md" in names and "files/airavata_runbook/stacks/classic/stack.yaml.md" in names
    assert '"alt": "Screenshot of the portal' in (tmp_path / "notebooks/06-verify.ipynb").read_text()
    assert "| to read on |" not in (tmp_path / "readme/introduction.txt").read_text()
    (tmp_path / "docs/removed.md").write_text("# A page that was\n")
    stage(tmp_path, {"reference/one.md": "# One\n"})
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written


def test_what_a_page_loads_from_another_host_is_found(tmp_path):
    page, style = tmp_path / "page.html", tmp_path / "style.css"
    page.write_text(
        '<link rel="canonical" href="https://a/"><link rel="stylesheet" href="//b/x.css"><script src="https://c/y.js"></script>'
        '<script src="_static/own.js"></script><img src="data:image/png;base64,"><a href="https://d/">read on</a>'
    )
    style.write_text("@import 'https://e/z.css'; a { background: url(own.svg) } b { src: url(\"https://f/g.woff\") }")
    assert build.elsewhere(page) == ["//b/x.css", "https://c/y.js"]
    assert build.elsewhere(style) == ["https://e/z.css", "https://f/g.woff"]
