"""`airavata-runbook mirror`: what the cache lacks, before a run. Without a site everything that most sites need.

Compiling needs the processors and downloading the network, so both go on side by side.
"""

from collections.abc import Collection, Iterable, Sequence
from functools import partial
from itertools import chain

from airavata_runbook.distributions import PACKAGINGS
from airavata_runbook.distributions.package_format import PackageFormat
from airavata_runbook.lab import image as host_image
from airavata_runbook.local import scheduler
from airavata_runbook.local.scheduler import Task
from airavata_runbook.mirror import build, images, packages, released
from airavata_runbook.mirror.catalogue import PACKAGE, Package, check_releases, check_versions, of_host
from airavata_runbook.mirror.components import BY_NAME, COMPONENTS, Component
from airavata_runbook.mirror.recipes import ON_DEMAND, Recipe
from airavata_runbook.site import Site

# While one build links, which takes one processor, another compiles; while one image has the lock of apt's cache, the layer of
# another is packed.
POOLS = {"build": 2, "download": 2, "image": 2}
PROCESSORS = ("build", "image")  # what is left of these is one sum


def build_everything() -> None:
    """Build the components, packages and images that the cache lacks. Raises CannotBuild."""
    names = [name for name in images.NAMES if name not in ON_DEMAND]
    _run([*tasks(packages.lacking(PACKAGE), names, components=BY_NAME), *_host_image()])
    for component in COMPONENTS:
        build.build(component)
    packages.make(PACKAGE)
    images.build(names)


def build_for(site: Site, names: Iterable[str], releases: Collection[str]) -> None:
    """Build or download what the cache lacks of the packages of a site, of these images and of its lab.

    releases: the components whose official release is taken, and not a build. Raises SiteError, CannotBuild, DownloadFailed.
    """
    check_releases(site)
    if site.repository.folder:
        check_versions(site.versions)
    needs = packages_of(site)
    packs = [pack for format, hosts in needs.items() for pack in packages.lacking(hosts, releases, format)]
    wanted = sorted(names)
    _run([*tasks(packs, wanted, releases), *(_host_image() if site.lab else [])])
    for format, hosts in needs.items():
        packages.make(hosts, releases, format)
    images.build(wanted, releases)


def packages_of(site: Site, kinds: Collection[str] = ("deb",)) -> dict[PackageFormat, list[str]]:
    """The names of the packages that a site's hosts get from the mirror, by their format.

    kinds: deb, rpm or both, for hosts of which the site file does not tell; it tells of lab hosts.
    """
    if not site.repository.folder:
        return {}

    found: dict[PackageFormat, list[str]] = {}
    for packaging in PACKAGINGS:
        nodes = [node for node in site.nodes if packaging.name in ((site.lab.host(node.name).packages,) if site.lab else kinds)]
        if names := sorted({name for node in nodes for name in of_host(site, node)}):
            found[packaging.format] = names
    return found


def tasks(
    packs: Sequence[Package], names: Iterable[str], releases: Collection[str] = (), components: Iterable[str] = ()
) -> list[Task]:
    """These packages, and what the cache lacks of these images and components, each with all that it is made of.

    The longest builds come first, so that at the end no processor is idle; nfpm before them, whose modules are here soon.
    """
    layers = images.lacking(names, releases)
    programs = {recipe.name: {component for _, component, _ in recipe.programs} for recipe in layers}
    wanted = {*components, *["nfpm"] * bool(packs)}.union(*(pack.components for pack in packs), *programs.values())
    in_order = sorted(wanted, key=lambda name: (name != "nfpm", -BY_NAME[name].seconds))
    bringing = {name: _component(BY_NAME[name], name in releases) for name in in_order}

    def made_of(names: Iterable[str]) -> set[str]:
        return {bringing[name][-1].name for name in names if bringing[name]}

    def package(pack: Package) -> Task:
        make = partial(packages.make, [pack.name], releases, pack.format)
        return Task(pack.label, packages.SECONDS, "build", make, frozenset(made_of([*pack.components, "nfpm"])))

    def image(recipe: Recipe) -> Task:
        make = partial(images.build, [recipe.name], releases)
        needs = made_of(programs[recipe.name]) | {f"image {recipe.parent}"}
        if recipe.name == "pause":
            needs.add(_modules(BY_NAME["kubernetes"]).name)  # its source is in one of them
        return Task(f"image {recipe.name}", recipe.seconds, "image", make, frozenset(needs))

    return [*chain.from_iterable(bringing.values()), *map(package, packs), *map(image, layers)]


def _component(component: Component, is_release: bool) -> list[Task]:
    """What brings a component to the cache, unless it is there; the last of them needs the others."""
    name = f"{component.name} {component.version}"
    if (released if is_release else build).folder(component).is_dir():
        return []
    if is_release:
        return [Task(f"release {name}", released.SECONDS, "download", partial(released.obtain, component))]
    modules = _modules(component)
    return [
        modules,
        Task(f"build {name}", component.seconds, "build", partial(build.build, component), frozenset({modules.name})),
    ]


def _modules(component: Component) -> Task:
    download = partial(build.download, component)
    return Task(f"modules of {component.name} {component.version}", component.download, "download", download)


def _host_image() -> list[Task]:
    """The lab's, unless the cache has it."""
    return [] if host_image.path().is_dir() else [Task("lab host image", host_image.SECONDS, "image", host_image.ensure)]


def _run(lacking: list[Task]) -> None:
    """Bring what the cache lacks. What it has is looked at after that, by its digests, and made again where it is damaged."""
    scheduler.run("mirror", lacking, POOLS, PROCESSORS)
