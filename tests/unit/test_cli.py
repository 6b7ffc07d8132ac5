"""The command line itself; its commands are tested with what they call."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from airavata_runbook import cli
from airavata_runbook.cli import version

PROJECT = Path(__file__).parents[2]


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert ended.value.code == 0 and capsys.readouterr().out == f"airavata-runbook {version}\n"


def test_version_of_a_clone_is_its_own_and_elsewhere_that_of_the_installed_package(monkeypatch, tmp_path):
    """A clone that was installed before has older metadata; a wheel has no pyproject.toml beside it, or somebody else's."""
    monkeypatch.setattr(version, "version", lambda name: f"installed {name}")
    (tmp_path / "package" / "cli").mkdir(parents=True)
    monkeypatch.setattr(version, "__file__", str(tmp_path / "package" / "cli" / "version.py"))
    assert version.current() == "installed airavata-runbook"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "other"\nversion = "9"\n')
    assert version.current() == "installed airavata-runbook"
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "airavata-runbook"\nversion = "7.1"\n')
    assert version.current() == "7.1"


def test_a_clone_that_nothing_was_installed_from_has_a_version(tmp_path):
    """Only this package's folder is on the path, and no metadata of it."""
    script = (
        "import importlib.metadata as m\n"
        "def version(name): raise m.PackageNotFoundError(name)\n"
        "m.version = version\n"
        "from airavata_runbook.cli import main\nmain(['--version'])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0 and re.fullmatch(r"airavata-runbook \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize(
    "command, status", [("raise SiteError('wrong')", 1), ("raise KeyboardInterrupt", 130), ("return 3", 3), ("pass", 0)]
)
def test_exit_statuses_are_those_of_the_help(monkeypatch, capsys, command, status):
    from airavata_runbook.cli import sites
    from airavata_runbook.errors import SiteError

    space: dict = {"SiteError": SiteError}
    exec(f"def command(options): {command}", space)
    monkeypatch.setattr(sites, "_runs", space["command"])
    assert cli.main(["runs", "lab"]) == status
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == (1 if status in (1, 130) else 0)
    with pytest.raises(SystemExit):
        cli.main(["--help"])
    if status != 3:  # a command's own, as of lab ssh
        assert re.search(rf"(?m)^  {status} ", capsys.readouterr().out)


def test_wrong_usage_and_a_closed_output_have_statuses_of_their_own():
    ask = [sys.executable, "-m", "airavata_runbook.cli"]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    assert subprocess.run([*ask, "no-such-command"], env=environment, capture_output=True).returncode == 2
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*ask, "schema"], env=environment, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert done.returncode == 141 and b"standard output was closed" in done.stderr
    for status in (2, 141):
        assert re.search(rf"(?m)^  {status} ", cli.EXIT_CODES)


@pytest.mark.parametrize("words", [["backup", "lab", "-o", "FILE"], ["verify-backup", "FILE"]])
def test_a_passphrase_is_taken_by_reference_only_and_not_repeated(words, capsys):
    assert cli.main([*words, "--passphrase", "canary"]) == 1
    said = capsys.readouterr()
    assert "takes a reference" in said.err and "canary" not in said.out + said.err


def test_a_passphrase_that_is_prompted_for_is_entered_twice(monkeypatch, capsys, tmp_path):
    answers = iter(["one", "other"])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda text: next(answers))
    assert cli.main(["backup", "lab", "-o", str(tmp_path / "file"), "--passphrase", "prompt:backup"]) == 1
    assert "twice the same" in capsys.readouterr().err and not list(tmp_path.iterdir())
