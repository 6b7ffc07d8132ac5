"""A format of packages and of their repositories: how the mirror describes a package to nfpm, and signs what it makes."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from airavata_runbook.local.files import Head
from airavata_runbook.pki.openpgp import Algorithm


class PackageFile(NamedTuple):
    """A package of a repository. path: where it was built. name: its file's name in the repository. head: what its content there
    begins with, in place of the first bytes at `path`. sha256: of that content, hexadecimal.
    """

    path: Path
    name: str
    head: Head
    sha256: str


class PackageFormat(Protocol):
    """A format that nfpm makes, with the repositories of such packages, one folder each."""

    name: str  # "deb" or "rpm", as nfpm's
    label: str  # how reports call a package
    key: str  # the private key that signs, on the master
    algorithm: Algorithm  # of that key
    index_files: tuple[str, ...]  # what makes a folder of packages a repository; each names the digests of those before it
    signature_file: str  # which has or is the signature of the last one
    owns_folders: bool  # whether a folder is removed with the package that has it only, and not when it becomes empty
    nfpm: Mapping[str, object]  # what its packages alone need in nfpm's description

    def dependency(self, name: str, version: str = "") -> str:
        """A dependency by Debian's name for it, in exactly that version if there is one."""

    def file_name(self, name: str, version: str) -> str:
        """Of a package in a repository. A package that was built anew replaces the older file: version has no build in it."""

    def head(self, path: Path, key: Callable[[], bytes]) -> Head:
        """What a package begins with in a repository, with its signature if the format has one; `key` is called only then."""

    def files(self, names: Iterable[str]) -> str:
        """A regular expression (POSIX, extended) of the paths, in a repository's folder, of packages of these names, whichever
        their versions, and of what is written beside them.
        """

    def index(self, packages: Sequence[PackageFile]) -> dict[str, str]:
        """The index files: name → text. They depend on the packages alone, so that two machines write the same."""

    def sign(self, index: Mapping[str, str], key: bytes) -> bytes:
        """The signature file."""
