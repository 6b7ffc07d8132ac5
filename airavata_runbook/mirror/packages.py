"""Packages of the components, made with nfpm from one description each, as debs and as rpm packages."""

import json
import os
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from airavata_runbook.distributions.deb_format import DEB_FORMAT
from airavata_runbook.distributions.package_format import PackageFormat
from airavata_runbook.errors import NotYet
from airavata_runbook.local import paths
from airavata_runbook.local.digests import remembered_digest
from airavata_runbook.local.files import digest
from airavata_runbook.local.once import build_once
from airavata_runbook.local.process import run
from airavata_runbook.mirror import build as component_builds
from airavata_runbook.mirror import released
from airavata_runbook.mirror.catalogue import EPOCH, RELEASE, Package, description, package_of, recipe
from airavata_runbook.mirror.components import BY_NAME

SECONDS = 2  # to pack one package, measured


@dataclass(frozen=True)
class Built:
    """A package file. sha256: hexadecimal."""

    name: str
    version: str
    path: Path
    sha256: str


def make(names: Iterable[str], releases: Collection[str] = (), format: PackageFormat = DEB_FORMAT) -> list[Built]:
    """The package files, built when the cache has none. releases: the components whose official release is packed, and not a
    build. Raises CannotBuild, DownloadFailed."""
    return [_make(package_of(name, releases, format)) for name in names]


def built(name: str, releases: Collection[str] = (), format: PackageFormat = DEB_FORMAT) -> Built:
    """A package that the cache has. Raises NotYet when it still has to be built."""
    package = package_of(name, releases, format)
    if not _is_whole(file := path(package)):
        raise NotYet(f"the {format.label} {name} is built")
    return _built(package, file)


def pending(names: Iterable[str], releases: Collection[str] = (), format: PackageFormat = DEB_FORMAT) -> dict[str, int]:
    """What `make` would build of these: components and packages, each with the seconds that it takes on 2 cores."""
    packages = lacking(names, releases, format)
    wanted = {component for package in packages for component in package.components}
    builds = component_builds.pending([*wanted.difference(releases), *["nfpm"] * bool(packages)])
    return builds | released.pending(wanted.intersection(releases)) | {package.label: SECONDS for package in packages}


def lacking(names: Iterable[str], releases: Collection[str] = (), format: PackageFormat = DEB_FORMAT) -> list[Package]:
    """Those of the named packages that the cache lacks."""
    return [package for name in names if not _is_whole(path(package := package_of(name, releases, format)))]


def path(package: Package) -> Path:
    """Where the cache keeps a package file, whether it is there or not; version and recipe are part of the name."""
    return paths.cache_dir() / "packages" / f"{package.name}-{package.version}-{recipe(package)}.{package.format.name}"


def _make(package: Package) -> Built:
    target = path(package)

    def pack(part: Path) -> None:
        _pack(package, part)
        _record(target).write_text(json.dumps({"sha256": digest(part)}))

    build_once(target, lambda: _is_whole(target), pack)
    return _built(package, target)


def _built(package: Package, file: Path) -> Built:
    return Built(package.name, package.version, file, _recorded(file))


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


def _pack(package: Package, target: Path) -> None:
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
            *(str(nfpm), "package", "--config", str(config), "--packager", package.format.name, "--target", str(target)),
            failure=f"the package {package.name} could not be built",
            remedy="if the disk is full, free space on it; else report this",
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        )


def file_name(package: Package) -> str:
    """The file's name in the repository, without the recipe: a rebuilt package replaces the older file."""
    return package.format.file_name(package.name, f"{package.version}-{RELEASE}")
