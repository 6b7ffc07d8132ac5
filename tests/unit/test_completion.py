"""Completion in a shell, as the shell itself does it with the script that the command prints."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from airavata_runbook import cli
from airavata_runbook.cli import completion

PROJECT = Path(__file__).parents[2]
SITE = """
site:
  name: mine
  nodes:
  - name: "head"
    address: 10.0.0.11
    role: master
    ssh: {user: admin}
  - {name: one, address: 10.0.0.12}   # {name: none}
  registry: {name: registry.internal}
  lab: {hosts: {}}
"""
ASK = """
compopt() { printf 'compopt %s\\n' "$*"; }
COMP_WORDS=(airavata-runbook "$@")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
_airavata_runbook
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working directory below a project."""
    project = tmp_path_factory.mktemp("a project")
    for name in ("notebooks/exercises", "parameters"):
        (project / name).mkdir(parents=True)
    for name in ("01-network", "02-install"):
        (project / "notebooks" / f"{name}.ipynb").touch()
    (project / "parameters" / "mine.yaml").write_text(SITE)
    (project / "parameters" / "lab.yaml").write_text("site: {nodes: []}")
    (project / "parameters" / "realm.json").touch()
    return project / "notebooks"


def candidates(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of the words."""
    script = completion.script("bash", cli.parser()) + ASK
    done = subprocess.run(["bash", "-c", script, "bash", *words], cwd=folder, capture_output=True, text=True, check=True)
    assert not done.stderr
    return done.stdout.split("\n")[:-1]


@pytest.mark.parametrize(
    "words, offered",
    [
        (["ru"], ["run", "runs"]),
        (["lab", "s"], ["status", "ssh"]),
        (["run", "m"], ["mine"]),
        (["run", "mine", ""], ["lab", "mine"]),  # several sites
        (["check", "mine", "--o"], ["--offline"]),
        (["run", "mine", "--from", ""], ["01-network", "02-install"]),
        (["run", "mine", "--from", "=", "02"], ["02-install"]),  # bash takes = for a word of its own
        (["remove", "mine", ""], ["head", "one"]),
        (["lab", "ssh", "--site", "mine", ""], ["head", "one"]),
        (["lab", "up", ""], ["--help", "--site"]),
        (["reset", "--d"], ["--data"]),
        (["bundle", "mine", "--packages", "r"], ["rpm"]),
        (["completion", ""], ["bash", "zsh"]),
        (["restore", "mine", ""], ["compopt -o default"]),  # a file
        (["manifests", "mine", "-o", ""], ["compopt -o dirnames"]),
        (["run", "./"], ["compopt -o default"]),  # the path of a site file
        (["run", "mine", "--set", ""], [""]),  # nothing is known of it
    ],
)
def test_what_bash_offers(folder, words, offered):
    found = candidates(folder, *words)
    assert [one for one in found if one or offered == [""]] == offered


def test_outside_of_a_project_there_are_no_sites_and_no_error(tmp_path):
    assert candidates(tmp_path, "run", "") == [""]


def test_every_command_and_option_is_offered(folder):
    for path, parser in completion._commands(cli.parser()):
        words = path.split("/")[1:]
        assert set(candidates(folder, *words, "-")) == set(completion._options(parser))
        if below := completion._subcommands(parser):
            assert set(below) <= set(candidates(folder, *words, ""))


@pytest.mark.parametrize("shell", completion.SHELLS)
def test_the_script_is_whole_and_valid(shell):
    script = completion.script(shell, cli.parser())
    assert not re.search("(?m)^@", script)
    if shutil.which(shell):
        subprocess.run([shell, "-n"], input=script, text=True, check=True)


def test_the_command_prints_the_script(capsys):
    assert cli.main(["completion", "zsh"]) == 0
    assert capsys.readouterr().out == completion.script("zsh", cli.parser())
