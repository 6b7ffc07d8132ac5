"""Packages of the components, made with nfpm from one description each, for deb and rpm hosts."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import yaml

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local import paths
from airavata_runbook.mirror.build import build
from airavata_runbook.mirror.catalogue import EPOCH, PACKAGE, RELEASE, Package, architecture, description, recipe
from airavata_runbook.mirror.components import BY_NAME


@dataclass(frozen=True)
class Built:
    """A package file. sha256: hexadecimal. control: a deb's entry in a repository's index; of an rpm none."""

    name: str
    version: str
    path: Path
    sha256: str
    control: str


def make(names: list[str], kind: str = "deb") -> list[Built]:
    """The package files, built when the cache has none. kind: deb or rpm. Raises CannotBuild."""
    return [_make(PACKAGE[name], kind) for name in names]


def _make(package: Package, kind: str) -> Built:
    target = paths.cache_dir() / "packages" / f"{package.name}-{package.version}-{recipe(package)}.{kind}"
    record = target.with_suffix(f".{kind}.json")
    if not (record.is_file() and target.is_file() and _digest(target) == json.loads(record.read_text())["sha256"]):
        _pack(package, kind, target)
        record.write_text(json.dumps({"sha256": _digest(target)}))
    digest = json.loads(record.read_text())["sha256"]
    return Built(package.name, package.version, target, digest, _entry(package, target, digest) if kind == "deb" else "")


def _pack(package: Package, kind: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    nfpm = build(BY_NAME["nfpm"]) / "nfpm"
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        binaries = Path(work) / "binaries"
        binaries.mkdir()
        for component in package.components:
            (binaries / component).symlink_to(build(BY_NAME[component]))
        config = Path(work) / "nfpm.yaml"
        config.write_text(yaml.safe_dump(description(package, binaries), sort_keys=False))
        made = Path(work) / f"package.{kind}"
        done = subprocess.run(
            [nfpm, "package", "--config", config, "--packager", kind, "--target", made],
            capture_output=True,
            text=True,
            env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH},
        )
        if done.returncode:
            raise CannotBuild(
                f"the package {package.name} could not be made",
                found=(done.stderr or done.stdout).strip(),
                remedy="if the disk is full, make room; else report this",
            )
        shutil.move(made, target)


def _entry(package: Package, path: Path, digest: str) -> str:
    """The package as a repository lists it.

    The fields are the package's own: where the list leaves out Installed-Size or alters what it depends on, apt takes the
    two for different builds of the version, and offers an upgrade for ever (apt's debListParser::VersionHash).
    """
    return f"{control_of(path)}Filename: ./{file_name(package)}\nSize: {path.stat().st_size}\nSHA256: {digest}\n"


def control_of(path: Path) -> str:
    """The control file inside of a deb, which ends with a newline. Source: deb(5)."""
    with path.open("rb") as file:
        file.seek(len(b"!<arch>\n"))
        while header := file.read(60):
            name, size = header[:16].decode().rstrip(" /"), int(header[48:58])
            if name.startswith("control.tar"):
                with tarfile.open(fileobj=io.BytesIO(file.read(size))) as archive:
                    return archive.extractfile("./control").read().decode().rstrip("\n") + "\n"
            file.seek(size + size % 2, os.SEEK_CUR)
    raise CannotBuild("a package has no control file", found=str(path), remedy="remove that file and run again")


def file_name(package: Package) -> str:
    """As Debian names package files, but without the recipe: a package that is built anew takes the old one's place."""
    return f"{package.name}_{package.version}-{RELEASE}_{architecture()}.deb"


def index(built: list[Built]) -> dict[str, str]:
    """The files that make a folder of packages a flat repository for apt: name → content.

    Source: Debian's RepositoryFormat. The date is a constant, so that the same packages give the same files; apt warns
    where there is none, and tells a list from a newer one by its digest.
    """
    packages = "\n".join(one.control for one in built)
    digest = hashlib.sha256(packages.encode()).hexdigest()
    date = format_datetime(datetime.fromtimestamp(int(EPOCH), UTC), usegmt=True)
    release = (
        f"Origin: airavata-runbook\nLabel: airavata-runbook\nDate: {date}\nArchitectures: {architecture()}\n"
        f"SHA256:\n {digest} {len(packages.encode())} Packages\n"
    )
    return {"Packages": packages, "Release": release}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
