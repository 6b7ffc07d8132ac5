"""`airavata-runbook mirror`: what the cache lacks, before a run. Without a site everything that most sites need.

Compiling needs the processors and downloading the network, so both go on side by side.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import partial

from airavata_runbook.distributions import PACKAGINGS, Packaging
from airavata_runbook.distributions.deb import DEB
from airavata_runbook.lab import image as host_image
from airavata_runbook.local import scheduler
from airavata_runbook.local.scheduler import Task
from airavata_runbook.mirror import build, images, packages, released
from airavata_runbook.mirror.catalogue import PACKAGE, Package, check_releases, check_versions, of_host
from airavata_runbook.mirror.components import BY_NAME, Component
from airavata_runbook.mirror.recipes import ON_DEMAND
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node

# While one build links, which takes one processor, another compiles. Debian's packages are installed one root at a time, with
# the lock of apt's cache.
POOLS = {"build": 2, "download": 2, "image": 1}


def build_everything() -> None:
    """Build the components, packages and images that the cache lacks. Raises CannotBuild."""
    names = [name for name in images.NAMES if name not in ON_DEMAND]
    _make([*tasks(packages.lacking(PACKAGE), names, components=BY_NAME), *_host_image()])


def build_for(site: Site, names: Iterable[str], releases: Collection[str]) -> None:
    """Build or download what the cache lacks of the packages of a site, of these images and of its lab.

    releases: the components whose official release is taken, and not a build. Raises SiteError, CannotBuild, DownloadFailed.
    """
    check_releases(site)
    packs: list[Package] = []
    if site.repository.folder:
        check_versions(site.versions)
        for packaging, nodes in _packagings(site):
            hosts = sorted({name for node in nodes for name in of_host(site, node)})
            packs += packages.lacking(hosts, releases, packaging.format)
    _make([*tasks(packs, sorted(names), releases), *(_host_image() if site.lab else [])])


def tasks(
    packs: Sequence[Package], names: Iterable[str], releases: Collection[str] = (), components: Iterable[str] = ()
) -> list[Task]:
    """These packages, and what the cache lacks of these images and components, each with all that it is made of.

    The longest builds come first, so that at the end no processor is idle; nfpm before them, whose modules are here soon.
    """
    layers = images.lacking(names, releases)
    programs = {recipe.name: {component for _, component, _ in recipe.programs} for recipe in layers}
    wanted = {*components, *["nfpm"] * bool(packs)}.union(*(pack.components for pack in packs), *programs.values())
    makers = {name: _maker(BY_NAME[name], name in releases) for name in wanted}
    modules = {name: _modules(BY_NAME[name]) for name, maker in makers.items() if maker and maker.pool == "build"}

    source_of_pause = _modules(BY_NAME["kubernetes"]).name

    def needed(names: Iterable[str]) -> frozenset[str]:
        return frozenset(maker.name for name in names if (maker := makers[name]))

    in_order = sorted(wanted, key=lambda name: (name != "nfpm", -BY_NAME[name].seconds))
    return [
        *(modules[name] for name in in_order if name in modules),
        *(maker for name in in_order if (maker := makers[name])),
        *(
            Task(
                pack.label,
                packages.SECONDS,
                "build",
                partial(packages.make, [pack.name], releases, pack.format),
                needed([*pack.components, "nfpm"]),
            )
            for pack in packs
        ),
        *(
            Task(
                f"image {recipe.name}",
                recipe.seconds,
                "image",
                partial(images.build, [recipe.name], releases),
                needed(programs[recipe.name]) | ({source_of_pause} if recipe.name == "pause" else set()),
            )
            for recipe in layers
        ),
    ]


def _packagings(site: Site) -> list[tuple[Packaging, list[Node]]]:
    """How the packages of hosts are managed, as far as the site file tells: it does of lab hosts. Others are asked in a run."""
    kinds = {node.name: site.lab.host(node.name).packages if site.lab else DEB.name for node in site.nodes}
    return [(one, [node for node in site.nodes if kinds[node.name] == one.name]) for one in PACKAGINGS]


def _modules(component: Component) -> Task:
    return Task(
        f"modules of {component.name} {component.version}", component.download, "download", partial(build.download, component)
    )


def _maker(component: Component, is_release: bool) -> Task | None:
    """What brings a component that the cache lacks."""
    name = f"{component.name} {component.version}"
    if is_release:
        bring = partial(released.obtain, component)
        return None if released.folder(component).is_dir() else Task(f"release {name}", released.SECONDS, "download", bring)
    if build.folder(component).is_dir():
        return None
    return Task(
        f"build {name}", component.seconds, "build", partial(build.build, component), frozenset({_modules(component).name})
    )


def _host_image() -> list[Task]:
    """The lab's, unless the cache has it."""
    return [] if host_image.path().is_dir() else [Task("lab host image", host_image.SECONDS, "image", host_image.ensure)]


def _make(lacking: list[Task]) -> None:
    scheduler.run("mirror", lacking, POOLS)
