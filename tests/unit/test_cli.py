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
