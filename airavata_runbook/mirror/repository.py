"""What the folder of a host's package repository has: packages, their index, its signature, and the key that verifies it."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path

from airavata_runbook.distributions.package_format import PackageFile, PackageFormat
from airavata_runbook.local.digests import remembered_digest
from airavata_runbook.local.files import Head
from airavata_runbook.mirror import packages as mirror
from airavata_runbook.mirror.catalogue import package_of
from airavata_runbook.pki import openpgp


class HostRepository:
    """The repository of these packages in one format. releases: the components whose official release is packed. key: returns the
    private key that signs. What is asked for raises NotYet while a package that it needs is not built, and what `key` raises.
    """

    def __init__(self, names: Sequence[str], releases: Collection[str], format: PackageFormat, key: Callable[[], bytes]):
        self.names, self.releases, self.format, self.key = names, releases, format, key
        self.packages = {name: package_of(name, releases, format) for name in names}
        self.file = cache(self._file)

    def pending(self, planning: bool = False) -> dict[str, int]:
        """What `make` would build, with the seconds that it takes."""
        return mirror.pending(self.names, self.releases, self.format)

    def make(self) -> list[mirror.Built]:
        return mirror.make(self.names, self.releases, self.format)

    def file_name(self, name: str) -> str:
        return mirror.file_name(self.packages[name])

    def source(self, name: str) -> Path:
        """A package in this machine's cache, whether it is there or not."""
        return mirror.path(self.packages[name])

    def sha256(self, name: str) -> str:
        return self.file(name).sha256

    def head(self, name: str) -> Head:
        return self.file(name).head

    def _file(self, name: str) -> PackageFile:
        built = mirror.built(name, self.releases, self.format)
        head = self.format.head(built.path, self.key)
        sha256 = remembered_digest(built.path, head) if head.content else built.sha256
        return PackageFile(built.path, self.file_name(name), head, sha256)

    @cached_property
    def _index(self) -> Mapping[str, str]:
        return self.format.index([self.file(name) for name in self.names])

    def index(self, name: str) -> str:
        """One of the format's index files."""
        return self._index[name]

    def signature(self) -> bytes:
        return self.format.sign(self._index, self.key())

    def public_key(self, owner: str) -> bytes:
        return openpgp.public_key(self.key(), owner)
