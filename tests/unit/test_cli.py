"""The command line itself; its commands are tested with what they call."""

import tomllib
from pathlib import Path

import pytest

from airavata_runbook import cli

PROJECT = Path(__file__).parents[2]


def test_version_is_the_packages(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    version = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["version"]
    assert ended.value.code == 0 and capsys.readouterr().out == f"airavata-runbook {version}\n"


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
