"""Where a site's images come from (SEED row 12): an archive, a reference that is pulled, or a folder that is built."""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from airavata_runbook.errors import RunbookError
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.layout import PLATFORM, Layout, open_archive
from airavata_runbook.images.reference import Reference
from airavata_runbook.images.registry import Registry
from airavata_runbook.images.transfer import OnBytes
from airavata_runbook.local import paths
from airavata_runbook.site.parts import ImageSource

__all__ = ["BadImage", "Layout", "Reference", "open_archive", "resolve", "tag"]

ASK = (5, 10)  # seconds to connect to a registry that is only asked what it has, and for its answer
# What each engine is called with: build (the image's id goes to a file), then save to an archive.
ENGINES = {
    "podman": (
        ["build", "--iidfile", "{id_file}", "{context}"],
        ["save", "--format", "oci-archive", "--output", "{archive}", "{id}"],
    ),
    "buildah": (["build", "--iidfile", "{id_file}", "{context}"], ["push", "{id}", "oci-archive:{archive}"]),
    "docker": (["build", "--iidfile", "{id_file}", "{context}"], ["save", "--output", "{archive}", "{id}"]),
}


def resolve(
    source: ImageSource,
    *,
    folder: Path,
    auth: str | None = None,
    ca: bytes | str | Path | None = None,
    platform: str = PLATFORM,
    progress: OnBytes | None = None,
) -> Layout:
    """The image that a site file's source stands for, on this machine; what was pulled or built before is used again.

    folder: what relative paths start at. auth: the value of `source.auth`, `user:password`. ca: authority of the
    registry that is pulled from, when it is no public one. Raises BadImage, RegistryError, or RunbookError when
    an image cannot be built.
    """
    if source.archive:
        layout = open_archive(_below(folder, source.archive), platform)
    elif source.build:
        layout = _built(_below(folder, source.build), platform)
    else:
        layout = _pulled(source, auth, ca, platform, progress)
    if source.digest and source.digest not in layout.digests:
        raise BadImage(
            "an image is not the one that the site file asks for",
            where=source.archive or source.pull or source.build or "",
            found=layout.digest,
            needed=source.digest,
            remedy="correct the digest, or find out who changed the image",
        )
    return layout


def ask(source: ImageSource, auth: str | None = None, ca: bytes | str | Path | None = None) -> None:
    """Ask the registry of an image that is pulled whether it has it; one that this machine has is not asked for.

    Raises RegistryError, within ASK seconds without an answer, and BadImage when it has not.
    """
    reference = Reference.parse(source.pull)
    if (_pulled_into(reference.digest or source.digest, PLATFORM) / "index.json").exists():
        return
    user, _, password = (auth or "").partition(":")
    registry = Registry(reference.url, ca=ca, user=user or None, password=password or None, timeout=ASK)
    if registry.has_manifest(reference.repository, reference.digest or source.digest) is None:
        raise BadImage(
            "the registry has no such image",
            where=source.pull,
            needed="a digest that is there",
            remedy="correct the reference, or push the image",
        )


def check_build(context: Path) -> None:
    """See whether a folder could be built into an image here; one that was built already needs no engine.

    Raises BadImage when there is nothing to build, RunbookError when nothing here can build it.
    """
    if not _built_into(context).exists():
        _engine(context)


def tag(source: ImageSource, *, folder: Path) -> str:
    """A tag that changes exactly when the source does, found without fetching or building: `sha-` and 16 digits."""
    if source.build:
        return f"sha-{_content(_below(folder, source.build))[:16]}"
    digest = source.digest or (Reference.parse(source.pull).digest if source.pull else None)
    digest = digest or open_archive(_below(folder, source.archive)).digest
    return f"sha-{digest.removeprefix('sha256:')[:16]}"


def _pulled(
    source: ImageSource, auth: str | None, ca: bytes | str | Path | None, platform: str, progress: OnBytes | None
) -> Layout:
    reference = Reference.parse(source.pull)
    digest = reference.digest or source.digest
    into = _pulled_into(digest, platform)
    if (into / "index.json").exists():  # written last
        with suppress(BadImage):  # a damaged cache is repaired: the pull below fetches what is not intact
            layout = open_archive(into, platform)
            layout.verify()
            return layout
    user, _, password = (auth or "").partition(":")
    registry = Registry(reference.url, ca=ca, user=user or None, password=password or None)
    return registry.pull(reference.repository, digest, into, platform, progress)


def _pulled_into(digest: str, platform: str) -> Path:
    return paths.cache_dir() / "images" / "pulled" / f"{digest.replace(':', '-')}-{platform.replace('/', '-')}"


def _built_into(context: Path) -> Path:
    """Where the image of a folder's present content is kept, built or still to be built. Raises BadImage."""
    if not context.is_dir():
        raise BadImage("there is no such folder to build an image from", where=str(context))
    if not any((context / name).is_file() for name in ("Dockerfile", "Containerfile")):
        raise BadImage(
            "a folder holds nothing to build an image from", where=str(context), needed="a Dockerfile or Containerfile"
        )
    return paths.cache_dir() / "images" / "built" / f"{_content(context)}.tar"


def _built(context: Path, platform: str) -> Layout:
    archive = _built_into(context)
    if not archive.exists():
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=archive.parent) as work:
            made = Path(work) / "image.tar"
            _build(context, made, Path(work) / "id")
            open_archive(made, platform)
            os.replace(made, archive)
    return open_archive(archive, platform)


def _build(context: Path, archive: Path, id_file: Path) -> None:
    engine = _engine(context)
    build, save = ENGINES[engine]
    values = {"context": str(context), "archive": str(archive), "id_file": str(id_file)}
    _run([engine, *(word.format(**values) for word in build)])
    values["id"] = id_file.read_text().strip()
    _run([engine, *(word.format(**values) for word in save)])


def _engine(context: Path) -> str:
    """The first engine of this machine that answers (a docker command without a running daemon does not)."""
    found = []
    for engine in ENGINES:
        if not shutil.which(engine):
            found.append(f"{engine}: not installed")
            continue
        answer = subprocess.run([engine, "version"], capture_output=True, text=True)
        if not answer.returncode:
            return engine
        found.append(f"{engine}: {(answer.stderr.strip() or 'does not answer').splitlines()[-1]}")
    raise RunbookError(
        "nothing on this machine can build an image",
        where=str(context),
        found="; ".join(found),
        needed=f"one of {', '.join(ENGINES)}",
        remedy="install one, or build elsewhere and name the archive (archive:) or reference (pull:)",
    )


def _run(command: list[str]) -> None:
    answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace")
    if answer.returncode:
        raise RunbookError(
            "an image could not be built",
            where=" ".join(command),
            found=answer.stdout.strip()[-1500:],
            remedy="run that command by hand; the runbook only calls it",
        )


def _content(context: Path) -> str:
    """A digest over names, modes and contents of everything in a folder: it stands for what would be built."""
    total = hashlib.sha256()
    for path in sorted(context.rglob("*")):
        mode = path.lstat().st_mode
        total.update(f"{path.relative_to(context)}\0{mode:o}\0".encode())
        if path.is_symlink():
            total.update(os.readlink(path).encode())
        elif stat.S_ISREG(mode):
            with path.open("rb") as file:
                total.update(hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()


def _below(folder: Path, path: str) -> Path:
    return paths.given(path if path.startswith("~") else folder / path)
