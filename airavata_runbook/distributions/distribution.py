"""What is told of a distribution in its own file, and how a host's os-release is read against it."""

import re
from dataclasses import dataclass
from typing import NamedTuple

from airavata_runbook.distributions.packaging import Packaging
from airavata_runbook.distributions.platform import Platform


class OsRelease(NamedTuple):
    """ID, VERSION_ID and ID_LIKE of os-release(5); version "" where there is none, as in Debian testing."""

    id: str
    version: str
    like: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.id} {self.version}".strip()


@dataclass(frozen=True)
class Distribution:
    """id: os-release's. name: as people write it. oldest: the oldest version that is accepted, "" while none is. packaging: of
    its packages. platform: what it has in common with those that it is like. repositories: the ids of its own repositories, and
    the names of the files that they are in; the site's cannot have such an id.
    """

    id: str
    name: str
    oldest: str
    packaging: Packaging
    platform: Platform
    repositories: tuple[str, ...] = ()

    def is_too_old(self, version: str) -> bool:
        return _comparable(version) < _comparable(self.oldest)


def _comparable(version: str) -> tuple[int, ...]:
    """Empty, so before all others, for text that is no version."""
    return tuple(map(int, version.split("."))) if re.fullmatch(r"\d+(\.\d+)*", version) else ()
