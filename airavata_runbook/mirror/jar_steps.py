"""Jars of Maven Central in an image. Only the layers of recipes that have some depend on this code."""

import shutil
from pathlib import Path

from airavata_runbook.mirror import maven
from airavata_runbook.mirror.recipes import Jars, Recipe


def apply(recipe: Recipe, root: Path) -> None:
    """Put the recipe's jars into `root`, each as NAME-VERSION.jar. Raises DownloadFailed, CannotBuild."""
    if not recipe.jars:
        return
    target = root / recipe.jars.path.lstrip("/")
    target.mkdir(parents=True, exist_ok=True)
    for artifact, sha256 in listed(recipe.jars):
        _, name, version = artifact.split(":")
        copy = target / f"{name}-{version}.jar"
        shutil.copyfile(maven.fetch(artifact, sha256, "jar"), copy)
        copy.chmod(0o644)


def listed(jars: Jars) -> list[tuple[str, str]]:
    """(GROUP:NAME:VERSION, sha256) of each."""
    lines = [line for line in jars.list.read_text().splitlines() if line and not line.startswith("#")]
    return [(artifact, sha256) for artifact, sha256 in (line.split() for line in lines)]
