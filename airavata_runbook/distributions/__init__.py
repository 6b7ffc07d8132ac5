"""The distributions that hosts may have: a module with a DISTRIBUTION for each, and nothing else names one.

To add one is to add its file here; whatever differs between distributions is a field of it.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules

from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.distribution import Distribution, OsRelease
from airavata_runbook.distributions.packaging import Packaging
from airavata_runbook.distributions.platform import DEBIAN_LIKE, Platform
from airavata_runbook.distributions.rpm import RPM
from airavata_runbook.errors import SiteError
from airavata_runbook.site.parts import Repository

_MODULES = [import_module(f"{__name__}.{module.name}") for module in iter_modules(__path__)]
KNOWN: dict[str, Distribution] = {  # by os-release's ID
    module.DISTRIBUTION.id: module.DISTRIBUTION for module in _MODULES if hasattr(module, "DISTRIBUTION")
}
PACKAGINGS: tuple[Packaging, ...] = (DEB, RPM)
ACCEPTED = {name: one for name, one in KNOWN.items() if one.oldest}
SUPPORTED = ", ".join(f"{one.name} {one.oldest}" for one in ACCEPTED.values()) + ", or later"


def distribution_of(system: OsRelease | None) -> Distribution | None:
    """The distribution of a host with this os-release, or the first that it is like; None for one that is like none."""
    names = (system.id, *system.like) if system else ()
    return next((KNOWN[name] for name in names if name in KNOWN), None)


def packaging_of(system: OsRelease | None) -> Packaging:
    """How the packages of a host with this os-release are managed: as those of `distribution_of`. Debian's way for one that is
    like none; the check `os` refuses it.
    """
    known = distribution_of(system)
    return known.packaging if known else DEB


def platform_of(system: OsRelease | None) -> Platform:
    """What else differs between families of distributions; chosen as the packaging is."""
    known = distribution_of(system)
    return known.platform if known else DEBIAN_LIKE


def check_repository_id(system: OsRelease | None, repository: Repository) -> None:
    """Raises SiteError when the distribution of a host with this os-release has a repository, or its file, of that id itself."""
    known = distribution_of(system)
    if known and repository.id.lower() in known.repositories:
        raise SiteError(
            f"{repository.id} is the id of a repository of {known.name} itself",
            where="site.repository.id",
            found=repository.id,
            needed=f"an id that {known.name} does not have: the runbook writes the repository's file, and a reset removes it",
            remedy="choose another repository.id, such as airavata-runbook, before the first run",
        )


def by_distribution(script: Callable[[Packaging], str]) -> str:
    """Shell that runs, on a host whose os-release is not known yet, the script for what `packaging_of` says of it."""
    words = "".join(
        f"    {'|'.join(name for name, one in KNOWN.items() if one.packaging is packaging)}) echo {packaging.name}; exit ;;\n"
        for packaging in PACKAGINGS
    )
    scripts = "".join(f"{packaging.name})\n{script(packaging)}\n;;\n" for packaging in PACKAGINGS)
    return f"""case $(
    ID= ID_LIKE=
    eval "$(cat /etc/os-release 2>/dev/null || cat /usr/lib/os-release 2>/dev/null)"
    for word in $ID $ID_LIKE; do case $word in
{words}    esac; done
    echo {DEB.name}
) in
{scripts}esac"""


def makers(names: Sequence[str]) -> str:
    """Shell that prints name, tab and maintainer of each of these packages that is installed, whatever the distribution."""
    return "{ " + "; ".join(one.list_makers(names) for one in PACKAGINGS) + "; }"


def installed_at(name: str) -> str:
    """A command that prints when a package was installed, in seconds since the epoch, and "package", whatever the
    distribution."""
    return " || ".join(one.installed_at(name) for one in PACKAGINGS)


__all__ = [
    "ACCEPTED",
    "KNOWN",
    "SUPPORTED",
    "Distribution",
    "OsRelease",
    "Packaging",
    "Platform",
    "by_distribution",
    "check_repository_id",
    "distribution_of",
    "installed_at",
    "makers",
    "packaging_of",
    "platform_of",
]
