"""How a family of distributions manages packages: what a step asks of it, and how versions of packages compare."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from airavata_runbook.distributions.package_format import PackageFormat
from airavata_runbook.site.parts import Repository


class Command(NamedTuple):
    """shown: the command as an admin would type it. script: shell that runs it, and recovers from known failures."""

    shown: str
    script: str


class Packaging(Protocol):
    """A package manager with its paths. All shell is POSIX, and is run as root on the host."""

    name: str  # "deb" or "rpm"
    format: PackageFormat  # in which the mirror makes its packages
    records: tuple[str, ...]  # where the package manager itself writes beside the packages: its database, lists, caches and logs
    key_package: str  # as what a key is in its database, "" where none is
    keyring: str  # the public key of the runbook's own repository, on every host

    def entry_path(self, repository: Repository) -> str:
        """The file that makes the repository known on a host."""

    def entry(self, repository: Repository) -> str:
        """The text of that file (POC row 3). Raises SiteError for what the package manager cannot take."""

    def index_copies(self, repository: Repository) -> str:
        """A glob of the package manager's copies of the repository's index."""

    def list_keys(self, owner: str) -> str:
        """Shell that prints the package manager's own copies of public keys of that owner; "" where it makes none."""

    def remove_keys(self, owner: str) -> str:
        """Shell that removes these."""

    def find_index(self, url: str) -> str:
        """Shell that looks for a repository's index at the URL as the package manager will, within 10 s, and prints "found" or
        why there is none.
        """

    def list_installed(self, names: Sequence[str]) -> str:
        """Shell that prints what is installed of these packages; it changes nothing."""

    def parse_installed(self, text: str) -> dict[str, str]:
        """Name → full version, from that output. Raises StepFailed where the host has no such package manager."""

    def install(self, repository: str, wanted: Mapping[str, str], installed: Mapping[str, str]) -> Command:
        """Install packages from the repository of that id at these versions, without removing any. Raises StepFailed."""

    def list_makers(self, names: Sequence[str]) -> str:
        """Shell that prints name, tab and maintainer of each of these packages that is installed. It is run on any host, also
        where there is no such package manager: a preflight check asks before the distribution is known.
        """

    def list_missing(self, names: Sequence[str]) -> str:
        """Shell that prints those of these packages that are neither installed nor in a repository whose index the host has. It
        asks no repository, and changes nothing.
        """

    def installed_at(self, name: str) -> str:
        """A command that prints when the package was installed, in seconds since the epoch, and "package"; or it fails."""

    def list_removed(self, names: Sequence[str]) -> str:
        """Shell for `parse_installed`: of these packages each that is installed → "package", and of others that would be
        removed with them → "came-along" or "theirs". It changes nothing and fails when it cannot know.
        """

    def remove(self, names: Sequence[str]) -> Command:
        """Remove these packages."""

    def remove_by_hand(self, names: Sequence[str]) -> str:
        """The command by which an admin removes packages."""

    def mark_as_dependency(self, names: Sequence[str]) -> str:
        """The command by which an admin says that packages may go with what needs them."""


def same_version(installed: str, wanted: str) -> bool:
    """Whether a package's version ("1:1.36.3-1") is the wanted one: upstream ("1.36.3"), or full without epoch."""
    version = installed.rpartition(":")[2]
    return wanted == (version if "-" in wanted else upstream(version))


def upstream(version: str) -> str:
    """The upstream part of a package's version, without epoch."""
    return version.rpartition(":")[2].partition("-")[0]


def numbers(version: str) -> list[int]:
    """The numbers of a version, to compare it with another."""
    return [int(number) for number in re.findall(r"\d+", version)]
