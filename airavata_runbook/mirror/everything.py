"""`airavata-runbook mirror`: what the cache lacks, before a run. Without a site everything that most sites need."""

import sys
from collections.abc import Collection, Iterable, Mapping

from airavata_runbook.local.terminal import about
from airavata_runbook.mirror import images, packages
from airavata_runbook.mirror.build import build, pending
from airavata_runbook.mirror.catalogue import PACKAGE, check_releases, check_versions, of_host
from airavata_runbook.mirror.components import BY_NAME
from airavata_runbook.mirror.recipes import ON_DEMAND
from airavata_runbook.site import Site


def build_everything() -> None:
    """Build the components, packages and images that the cache lacks. Raises CannotBuild."""
    names = [name for name in images.NAMES if name not in ON_DEMAND]
    _announce(pending(BY_NAME) | packages.pending(PACKAGE) | images.pending(names))
    for component in BY_NAME.values():
        build(component)
    packages.make(PACKAGE)
    images.build(names)


def build_for(site: Site, names: Iterable[str], releases: Collection[str]) -> None:
    """Build or download what the cache lacks of the packages of a site and of these images.

    releases: the components whose official release it has.

    Raises SiteError, CannotBuild, DownloadFailed.
    """
    check_releases(site)
    wanted = sorted(names)
    hosts: list[str] = []
    if site.repository.folder:
        check_versions(site.versions)
        hosts = sorted({name for node in site.nodes for name in of_host(site, node)})
    _announce(packages.pending(hosts, releases) | images.pending(wanted, releases))
    packages.make(hosts, releases=releases)
    images.build(wanted, releases)


def _announce(todo: Mapping[str, float]) -> None:
    if todo:
        print(f"mirror: {len(todo)} to build, {about(sum(todo.values()))} on 2 cores, without downloads", file=sys.stderr)
