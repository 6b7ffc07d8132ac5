"""`--version`: of the clone that this package is part of, else of the installed package."""

import argparse
from importlib.metadata import version
from pathlib import Path
from typing import Any

NAME = "airavata-runbook"


class ShowVersion(argparse.Action):
    """Print the version and end. It is looked up then only: that takes longer than all the rest of the command line."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        print(f"{parser.prog} {current()}")
        parser.exit()


def current() -> str:
    """A clone's own pyproject.toml says it: what was installed from the clone may be of an earlier commit, or nothing was."""
    file = Path(__file__).parents[2] / "pyproject.toml"
    if file.is_file():
        import tomllib

        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project", {})
        if project.get("name") == NAME and "version" in project:
            return project["version"]
    return version(NAME)
