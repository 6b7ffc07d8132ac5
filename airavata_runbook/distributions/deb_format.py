"""Packages for dpkg, and the flat repository that apt reads. Sources: deb(5), Debian's RepositoryFormat."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from airavata_runbook.distributions.package_format import PackageFile, PackageFormat
from airavata_runbook.errors import CannotBuild
from airavata_runbook.local.files import AS_IT_IS, Head
from airavata_runbook.pki import openpgp
from airavata_runbook.pki.openpgp import Algorithm
from airavata_runbook.wellknown import REPOSITORY_KEY


class DebFormat:
    """As PackageFormat. A package is not signed: its digest stands in the signed index."""

    name, label = "deb", "package"
    key = REPOSITORY_KEY
    algorithm: Algorithm = "ed25519"
    index_files: tuple[str, ...] = ("Packages", "Release")
    signature_file = "InRelease"  # Release with its signature
    owns_folders = False
    nfpm: Mapping[str, object] = {"deb": {"compression": "zstd"}}

    def dependency(self, name: str, version: str = "") -> str:
        return f"{name} (= {version})" if version else name

    def file_name(self, name: str, version: str) -> str:
        return f"{name}_{version}_amd64.deb"

    def files(self, names: Iterable[str]) -> str:
        return f"({'|'.join(names)})_[^/]*[.]deb|{'|'.join((*self.index_files, self.signature_file))}"

    def head(self, path: Path, key: Callable[[], bytes]) -> Head:
        return AS_IT_IS

    def index(self, packages: Sequence[PackageFile]) -> dict[str, str]:
        return release_of(map(entry, packages))

    def sign(self, index: Mapping[str, str], key: bytes) -> bytes:
        return openpgp.clear_sign(key, index["Release"])


DEB_FORMAT: PackageFormat = DebFormat()


def release_of(entries: Iterable[str]) -> dict[str, str]:
    """The index files of a flat apt repository with these entries: name → content.

    The date is a constant, so that the same packages give the same files, and long ago for a host whose clock is behind; apt
    warns when it is missing, and recognises a newer list by its digest. There is no Valid-Until: the repository changes with the
    runbook only.

    Each paragraph ends with an empty line. Until 2026-11 the last one did not, and apt has links to such an index in its lists,
    which it would keep for the same content, instead of a copy.
    """
    packages = "".join(f"{one}\n" for one in entries)
    sha256 = hashlib.sha256(packages.encode()).hexdigest()
    date = format_datetime(datetime.fromtimestamp(openpgp.TIME, UTC), usegmt=True)
    release = (
        f"Origin: airavata-runbook\nLabel: airavata-runbook\nSuite: airavata-runbook\nDate: {date}\n"
        f"Architectures: amd64\nSHA256:\n {sha256} {len(packages.encode())} Packages\n"
    )
    return dict(zip(DebFormat.index_files, (packages, release), strict=True))


def entry(package: PackageFile) -> str:
    """A package's paragraph in a repository's index.

    The fields are the package's own: if the index omits Installed-Size or alters the dependencies, apt takes the two for
    different builds of the version, and offers an upgrade for ever (apt's debListParser::VersionHash).
    """
    size = package.path.stat().st_size
    return f"{control_of(package.path)}Filename: ./{package.name}\nSize: {size}\nSHA256: {package.sha256}\n"


def control_of(deb: Path) -> str:
    """The control file of a deb, ending with a newline. Raises CannotBuild when there is none."""
    with deb.open("rb") as file:
        file.seek(len(b"!<arch>\n"))
        while header := file.read(60):
            name, size = header[:16].decode().rstrip(" /"), int(header[48:58])
            if name.startswith("control.tar"):
                with tarfile.open(fileobj=io.BytesIO(file.read(size))) as archive:
                    if control := archive.extractfile("./control"):
                        return control.read().decode().rstrip("\n") + "\n"
            file.seek(size + size % 2, os.SEEK_CUR)
    raise CannotBuild("a package has no control file", found=str(deb), remedy="remove that file and run again")
