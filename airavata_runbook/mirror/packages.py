"""Packages of the components, made with nfpm from one description each, for deb and rpm hosts."""

import hashlib
import io
import json
import os
import tarfile
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from pathlib import Path

import yaml

from airavata_runbook.errors import CannotBuild, NotYet
from airavata_runbook.local import paths
from airavata_runbook.local.digests import remembered_digest
from airavata_runbook.local.files import digest
from airavata_runbook.local.once import build_once
from airavata_runbook.local.process import run
from airavata_runbook.mirror import build as component_builds
from airavata_runbook.mirror import released
from airavata_runbook.mirror.catalogue import EPOCH, INDEX, RELEASE, Package, architecture, description, package_of, recipe
from airavata_runbook.mirror.components import BY_NAME

SECONDS = 2  # to pack one package, measured


@dataclass(frozen=True)
class Built:
    """A package file. sha256: hexadecimal. control: a deb's entry in a repository's index; of an rpm none."""

    name: str
    version: str
    path: Path
    sha256: str
    control: str


def make(names: Iterable[str], kind: str = "deb", releases: Collection[str] = ()) -> list[Built]:
    """The package files, built when the cache has none. kind: deb or rpm. releases: the components whose official release is
    packed, and not a build. Raises CannotBuild, DownloadFailed."""
    return [_make(package_of(name, releases), kind) for name in names]


def built(name: str, releases: Collection[str] = ()) -> Built:
    """A deb that the cache has. Raises NotYet when it still has to be built."""
    package = package_of(name, releases)
    if not _is_whole(file := path(package)):
        raise NotYet(f"the package {name} is built")
    return _built(package, file)


def pending(names: Iterable[str], releases: Collection[str] = ()) -> dict[str, int]:
    """What `make` would build for these debs: components and packages, each with the seconds that it takes on 2 cores."""
    packages = lacking(names, releases)
    wanted = {component for package in packages for component in package.components}
    builds = component_builds.pending([*wanted.difference(releases), *["nfpm"] * bool(packages)])
    return builds | released.pending(wanted.intersection(releases)) | {f"package {package.name}": SECONDS for package in packages}


def lacking(names: Iterable[str], releases: Collection[str] = ()) -> list[Package]:
    """Those of the named packages whose deb the cache lacks."""
    return [package for name in names if not _is_whole(path(package := package_of(name, releases)))]


def path(package: Package, kind: str = "deb") -> Path:
    """Where the cache keeps a package file, whether it is there or not; version and recipe are part of the name."""
    return paths.cache_dir() / "packages" / f"{package.name}-{package.version}-{recipe(package)}.{kind}"


def _make(package: Package, kind: str) -> Built:
    target = path(package, kind)

    def pack(part: Path) -> None:
        _pack(package, kind, part)
        _record(target).write_text(json.dumps({"sha256": digest(part)}))

    build_once(target, lambda: _is_whole(target), pack)
    return _built(package, target)


def _built(package: Package, file: Path) -> Built:
    sha256 = _recorded(file)
    return Built(package.name, package.version, file, sha256, _entry(package, file, sha256) if file.suffix == ".deb" else "")


def _record(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _recorded(file: Path) -> str:
    """The sha256 that a package file had when it was built."""
    return json.loads(_record(file).read_text())["sha256"]


def _is_whole(file: Path) -> bool:
    if not (file.is_file() and _record(file).is_file()):
        return False
    state = file.stat()
    return _sha256(file, state.st_size, state.st_mtime_ns) == _recorded(file)


@cache  # a plan compares each package on each host
def _sha256(file: Path, size: int, modified: int) -> str:
    return remembered_digest(file)


def _pack(package: Package, kind: str, target: Path) -> None:
    nfpm = component_builds.build(BY_NAME["nfpm"]) / "nfpm"
    with tempfile.TemporaryDirectory() as work:
        binaries = Path(work) / "binaries"
        binaries.mkdir()
        for component in package.components:
            bring = released.obtain if component in package.released else component_builds.build
            (binaries / component).symlink_to(bring(BY_NAME[component]))
        config = Path(work) / "nfpm.yaml"
        config.write_text(yaml.safe_dump(description(package, binaries), sort_keys=False))
        run(
            *(str(nfpm), "package", "--config", str(config), "--packager", kind, "--target", str(target)),
            failure=f"the package {package.name} could not be built",
            remedy="if the disk is full, free space on it; else report this",
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        )


def _entry(package: Package, file: Path, sha256: str) -> str:
    """The package's paragraph in a repository's index.

    The fields are the package's own: if the index omits Installed-Size or alters the dependencies, apt takes the two for
    different builds of the version, and offers an upgrade for ever (apt's debListParser::VersionHash).
    """
    return f"{control_of(file)}Filename: ./{file_name(package)}\nSize: {file.stat().st_size}\nSHA256: {sha256}\n"


def control_of(deb: Path) -> str:
    """The control file of a deb, ending with a newline. Source: deb(5). Raises CannotBuild when there is none."""
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


def file_name(package: Package) -> str:
    """The file's name in the repository, as Debian's but without the recipe: a rebuilt package replaces the older file."""
    return f"{package.name}_{package.version}-{RELEASE}_{architecture()}.deb"


def index(debs: Iterable[Built]) -> dict[str, str]:
    """The files INDEX of a flat apt repository that holds `debs`: name → content.

    Source: Debian's RepositoryFormat. The date is a constant, so that the same packages give the same files, and long ago for a
    host whose clock is behind; apt warns when it is missing, and recognises a newer list by its digest. There is no Valid-Until:
    the repository changes with the runbook only.

    Each paragraph ends with an empty line. Until 2026-11 the last one did not, and apt has links to such an index in its lists,
    which it would keep for the same content, instead of a copy.
    """
    packages = "".join(f"{one.control}\n" for one in debs)
    sha256 = hashlib.sha256(packages.encode()).hexdigest()
    date = format_datetime(datetime.fromtimestamp(int(EPOCH), UTC), usegmt=True)
    release = (
        f"Origin: airavata-runbook\nLabel: airavata-runbook\nSuite: airavata-runbook\nDate: {date}\n"
        f"Architectures: {architecture()}\nSHA256:\n {sha256} {len(packages.encode())} Packages\n"
    )
    return dict(zip(INDEX, (packages, release), strict=True))
