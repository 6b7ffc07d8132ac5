"""The mirror: the components of a site, built on this machine from pinned sources and kept in the cache.

So far it builds binaries; packages and images are still to come.
"""

from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.mirror.build import build as build_component
from airavata_runbook.mirror.components import BY_NAME


def build(only: list[str] | None = None) -> dict[str, Path]:
    """Build the named components (default: all): name → folder of its binaries. Raises CannotBuild."""
    unknown = [name for name in only or () if name not in BY_NAME]
    if unknown:
        raise CannotBuild(f"there is no component {unknown[0]}", needed="one of " + ", ".join(BY_NAME))
    return {name: build_component(BY_NAME[name]) for name in (BY_NAME if only is None else only)}


def binary(component: str, name: str) -> Path:
    """The path of one program of a component, built when it is not there. Raises CannotBuild."""
    return build([component])[component] / name
