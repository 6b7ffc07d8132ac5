"""Brings components from their official releases, each once: what a build makes (mirror/build.py), in a folder of its own."""

import hashlib
import json
import shutil
import tarfile
import zlib
from collections.abc import Iterable
from pathlib import Path

from airavata_runbook.errors import CannotBuild
from airavata_runbook.images import download
from airavata_runbook.local import paths
from airavata_runbook.local.once import build_once
from airavata_runbook.mirror.build import is_whole, record_digests
from airavata_runbook.mirror.components import BY_NAME, Component
from airavata_runbook.mirror.releases import RELEASES, download_url, locked, urls

LICENSE = Path(__file__).with_name("LICENSE-Apache-2.0")  # of all these components; most releases have no copy
LARGEST = 512 << 20  # bytes of a program
SECONDS = 5  # to unpack a component, without its download
X86_64 = b"\x3e\x00"  # e_machine (elf(5))


def obtain(component: Component) -> Path:
    """The folder with the programs of the component's release, downloaded when the cache has none that is whole.

    Raises CannotBuild, also where the lock file has no digest; DownloadFailed.
    """
    files, target = locked(component), folder(component)
    build_once(target, lambda: is_whole(target), lambda part: _bring(component, files, part))
    for sha256 in files.values():  # what is unpacked is known by digests of its own
        download.cached(sha256).unlink(missing_ok=True)
    return target


def pending(names: Iterable[str]) -> dict[str, int]:
    """Those of the named components that the cache lacks: name and version → seconds, without the download."""
    wanted = [BY_NAME[name] for name in sorted(set(names))]
    return {f"{one.name} {one.version}, its release": SECONDS for one in wanted if not folder(one).is_dir()}


def folder(component: Component) -> Path:
    """Where the cache keeps the component's release, whether it is there or not; its digests are part of the name.

    Raises CannotBuild where the lock file has none.
    """
    recipe = hashlib.sha256(json.dumps([RELEASES[component.name].member, locked(component)], sort_keys=True).encode())
    return paths.cache_dir() / "components" / f"{component.name}-{component.version}-release-{recipe.hexdigest()[:12]}"


def _bring(component: Component, files: dict[str, str], part: Path) -> None:
    part.mkdir()
    member = RELEASES[component.name].member
    for program, url in urls(component).items():
        file, target = download.fetch(download_url(url), files[url]), part / program
        if member:
            _unpack(file, member.format(version=component.version, program=program), target, url)
        else:
            shutil.copyfile(file, target)
        target.chmod(0o755)
        _check(target, url)
    shutil.copyfile(LICENSE, part / "LICENSE")
    record_digests(part)


def _unpack(archive: Path, member: str, target: Path, url: str) -> None:
    """One regular file of a tar archive. Raises CannotBuild."""
    try:
        with tarfile.open(archive) as files:
            found = next((one for one in files if one.name.removeprefix("./") == member and one.isreg()), None)
            content = files.extractfile(found) if found and found.size <= LARGEST else None
            if content:
                with target.open("wb") as file:
                    shutil.copyfileobj(content, file, 1 << 20)
                return
            why = "too large" if found else "not there, or no file"
    except (tarfile.TarError, EOFError, zlib.error) as error:
        why = str(error)
    raise CannotBuild("a release is not as expected", where=url, found=f"{member}: {why}", needed=f"a tar archive with {member}")


def _check(program: Path, url: str) -> None:
    with program.open("rb") as file:
        head = file.read(20)
    if not (head.startswith(b"\x7fELF") and head[18:20] == X86_64):
        raise CannotBuild("a release is not as expected", where=url, found=f"{program.name}: no program for Linux on x86-64")
