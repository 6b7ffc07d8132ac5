"""The mirror: components, packages and images of a site, built on this machine from pinned sources, kept in the cache."""

from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local.terminal import Progress
from airavata_runbook.mirror import build as builder
from airavata_runbook.mirror import images, packages
from airavata_runbook.mirror.build import binary
from airavata_runbook.mirror.catalogue import PACKAGES
from airavata_runbook.mirror.components import BY_NAME

__all__ = ["binary", "build", "build_all"]


def build(only: list[str] | None = None) -> dict[str, Path]:
    """Build the named components (default: all): name → folder of its binaries. Raises CannotBuild."""
    unknown = [name for name in only or () if name not in BY_NAME]
    if unknown:
        raise CannotBuild(f"there is no component {unknown[0]}", needed="one of " + ", ".join(BY_NAME))
    wanted = [BY_NAME[name] for name in (BY_NAME if only is None else only)]
    missing = [component for component in wanted if not builder.is_whole(builder.folder(component))]
    done, total = 0, sum(component.seconds for component in missing)
    with Progress("mirror", total or None) as progress:
        for component in missing:
            builder.build(
                component,
                lambda seconds, component=component, before=done: progress.update(
                    f"{component.name} {component.version}", before + min(seconds, 0.95 * component.seconds)
                ),
            )
            done += component.seconds
    return {component.name: builder.folder(component) for component in wanted}


def build_all() -> dict[str, Path]:
    """Everything that a site can need: components, packages, images. Returns name → file of packages and images."""
    build()
    with Progress("mirror: packages") as progress:
        made = {}
        for package in PACKAGES:
            progress.update(package.name)
            made[package.name] = packages.make([package.name])[0].path
    return made | images.build()
