"""environment.yml and pyproject.toml name the same dependencies with the same bounds."""

import re
import tomllib
from pathlib import Path

import yaml

PROJECT = Path(__file__).parents[2]
CONDA_NAMES = {"python-kubernetes": "kubernetes"}  # conda-forge's name → PyPI's
OWN = "--editable ."


def bounds(requirements: list[str]) -> dict[str, set[str]]:
    """Name → version bounds of requirements as pip and conda write them."""
    found = {}
    for requirement in requirements:
        name, rest = re.fullmatch(r"([A-Za-z0-9._-]+)\s*(.*)", requirement).groups()
        assert name not in found, f"{name} is named twice"
        found[CONDA_NAMES.get(name, name).lower()] = {bound.strip() for bound in rest.split(",") if bound}
    return found


def environment() -> tuple[list[str], list[str], dict]:
    content = yaml.safe_load((PROJECT / "environment.yml").read_text())
    conda = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    by_pip = [name for entry in content["dependencies"] if isinstance(entry, dict) for name in entry["pip"]]
    return conda, by_pip, content


def test_same_names_and_bounds_as_pyproject():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    conda, by_pip, _ = environment()
    named = bounds([*conda, *(name for name in by_pip if name != OWN)])
    python = named.pop("python")
    named.pop("pip")
    assert named == bounds(project["dependencies"])
    assert python >= {project["requires-python"]}


def test_the_package_itself_and_only_conda_forge():
    _, by_pip, content = environment()
    assert OWN in by_pip
    assert content["channels"] == ["conda-forge"]


def test_what_the_issue_names_is_there():
    conda, by_pip, _ = environment()
    named = bounds([*conda, *(name for name in by_pip if name != OWN)])
    assert {"jupyterlab", "papermill", "ipywidgets", "kubernetes", "paramiko", "etcd3", "nbval"} <= set(named)
