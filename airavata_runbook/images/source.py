"""Where a site's images come from (POC row 12): an archive, a reference that is pulled, or a folder that is built."""

import hashlib
import os
import shutil
import stat
import subprocess
import tempfile
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from airavata_runbook.errors import RunbookError
from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.http import TIMEOUT, Connection
from airavata_runbook.images.layout import Layout, is_whole, open_archive
from airavata_runbook.images.manifest import PLATFORM
from airavata_runbook.images.reference import Reference
from airavata_runbook.images.registry import Registry
from airavata_runbook.local import paths
from airavata_runbook.local.files import digest
from airavata_runbook.local.once import build_once
from airavata_runbook.local.process import run
from airavata_runbook.site.parts import ImageSource

LOOKUP_TIMEOUT = (5, 10)  # seconds to connect to a registry in which an image is only looked up, and for its response
# Each engine's commands: build (the image's id goes to a file), then save to an archive. buildah needs no service beside it, and
# what it built is removed from its storage, where nothing would use it again; an image of another engine may be its user's too.
ENGINES = {
    "buildah": (
        ["build", "--iidfile", "{id_file}", "{context}"],
        ["push", "{id}", "oci-archive:{archive}"],
        ["rmi", "{id}"],
    ),
    "podman": (
        ["build", "--iidfile", "{id_file}", "{context}"],
        ["save", "--format", "oci-archive", "--output", "{archive}", "{id}"],
    ),
    "docker": (["build", "--iidfile", "{id_file}", "{context}"], ["save", "--output", "{archive}", "{id}"]),
}
REMEDY = "run the command yourself to see more; where neither crun nor runc runs, as in a container: BUILDAH_ISOLATION=chroot"


def resolve(source: ImageSource, auth: str | None = None) -> Layout:
    """The image of a site file's source, on this machine; what was pulled or built before is used again.

    auth: the value of `source.auth`, `user:password`. Raises BadImage, RegistryError, or RunbookError when an image cannot be
    built.
    """
    if source.archive:
        layout = open_archive(paths.resolve_path(source.archive))
    elif source.build:
        layout = _build(paths.resolve_path(source.build))
    else:
        layout = _pull(source, auth)
    if source.digest and source.digest not in layout.digests:
        raise BadImage(
            "an image does not match the digest in the site file",
            where=source.place,
            found=layout.digest,
            needed=source.digest,
            remedy="correct the digest, or find out who changed the image",
        )
    return layout


def on_this_machine(source: ImageSource) -> Layout | None:
    """The image of a source that need not be pulled or built any more; None when it has to be. Raises BadImage."""
    if source.archive:
        return resolve(source)
    path = _built_archive(paths.resolve_path(source.build)) if source.build else _pulled_folder(_pinned(source)[1])
    with suppress(BadImage):  # what is damaged is pulled or built again
        return open_archive(path) if path.exists() else None
    return None


def kept(source: ImageSource) -> list[Path]:
    """What the cache has of an image that is pulled, once it is; nothing of one that is a file of the admin's."""
    return [_pulled_folder(_pinned(source)[1])] if source.pull else []


def check_pull(source: ImageSource, auth: str | None = None) -> None:
    """Look up an image that is pulled in its registry, unless this machine has it.

    Raises BadImage when the registry does not have it; RegistryError, after LOOKUP_TIMEOUT without a response.
    """
    reference, digest = _pinned(source)
    if (_pulled_folder(digest) / "index.json").exists():
        return
    registry = _registry(reference, auth, LOOKUP_TIMEOUT)
    if registry.manifest_digest(reference.repository, digest) is None:
        raise BadImage(
            "no such image in the registry",
            where=source.pull or "",
            needed="a digest that the registry has",
            remedy="correct the reference, or push the image",
        )


def check_build(context: Path) -> None:
    """Check that a folder can be built into an image here; one that was built already needs no engine.

    Raises BadImage when there is nothing to build, RunbookError when nothing here can build it.
    """
    if not _built_archive(context).exists():
        _engine(context)


def tag(source: ImageSource) -> str:
    """A tag that changes exactly when the source does, without pulling or building: `sha-` and 16 hexadecimal digits."""
    if source.build:
        return f"sha-{_content_digest(paths.resolve_path(source.build))[:16]}"
    if source.archive:
        digest = source.digest or open_archive(paths.resolve_path(source.archive)).digest
    else:
        _, digest = _pinned(source)
    return f"sha-{digest.removeprefix('sha256:')[:16]}"


def in_registry(source: ImageSource | None, address: str) -> Reference | None:
    """The reference of an image that a site takes from its own private registry, which has it already; else None.

    address: the registry's, HOST:PORT. Raises BadImage.
    """
    if not source or not source.pull or not source.pull.startswith(f"{address}/"):
        return None
    reference, digest = _pinned(source)
    return replace(reference, digest=digest)


def _pinned(source: ImageSource) -> tuple[Reference, str]:
    """The reference to pull and its digest, one of which a site file has to give. Raises BadImage."""
    reference = Reference.parse(source.pull or "")
    digest = source.digest or reference.digest
    if digest is None:
        raise BadImage("an image to pull has no digest", found=source.pull or "", needed="NAME[:TAG]@sha256:…")
    return reference, digest


def _pull(source: ImageSource, auth: str | None) -> Layout:
    reference, digest = _pinned(source)
    into = _pulled_folder(digest)
    if (into / "index.json").exists():  # written last
        with suppress(BadImage):  # a damaged cache is repaired: the pull below fetches what is not intact
            layout = open_archive(into)
            layout.verify()
            return layout
    return _registry(reference, auth).pull(reference.repository, digest, into)


def _registry(reference: Reference, auth: str | None, timeout: tuple[float, float] = TIMEOUT) -> Registry:
    user, _, password = (auth or "").partition(":")
    return Registry(Connection(reference.url, user=user or None, password=password or None, timeout=timeout))


def _pulled_folder(digest: str) -> Path:
    return paths.cache_dir() / "images" / "pulled" / f"{digest.replace(':', '-')}-{PLATFORM.replace('/', '-')}"


def _built_archive(context: Path) -> Path:
    """The archive of the image that the folder's present content builds, made already or not. Raises BadImage."""
    if not context.is_dir():
        raise BadImage("no such folder to build an image from", where=str(context))
    if not any((context / name).is_file() for name in ("Dockerfile", "Containerfile")):
        raise BadImage(
            "a folder without a recipe to build an image from", where=str(context), needed="a Dockerfile or Containerfile"
        )
    return paths.cache_dir() / "images" / "built" / f"{_content_digest(context)}.tar"


def _build(context: Path) -> Layout:
    archive = _built_archive(context)
    build_once(archive, lambda: is_whole(archive), lambda part: _run_engine(context, part))
    return open_archive(archive)


def _run_engine(context: Path, archive: Path) -> None:
    engine = _engine(context)
    build, *others = ENGINES[engine]
    call = partial(run, engine, failure="an image could not be built", remedy=REMEDY)
    with tempfile.TemporaryDirectory() as work:
        values = {"context": str(context), "archive": str(archive), "id_file": f"{work}/id"}
        call(*(word.format(**values) for word in build))
        values["id"] = Path(work, "id").read_text().strip()
        for command in others:
            call(*(word.format(**values) for word in command))
    open_archive(archive)  # for this platform


def _engine(context: Path) -> str:
    """The first engine on this machine that works (docker does not without its daemon). Raises RunbookError."""
    found = []
    for engine in ENGINES:
        if not shutil.which(engine):
            found.append(f"{engine}: not installed")
            continue
        result = subprocess.run([engine, "version"], capture_output=True, text=True)
        if not result.returncode:
            return engine
        found.append(f"{engine}: {(result.stderr.strip() or 'does not work').splitlines()[-1]}")
    raise RunbookError(
        "no engine on this machine can build an image",
        where=str(context),
        found="; ".join(found),
        needed=f"one of {', '.join(ENGINES)}",
        remedy="apt-get install buildah, or build elsewhere and name the archive (archive:) or reference (pull:)",
    )


def _content_digest(context: Path) -> str:
    """SHA-256 over names, modes and contents of everything in a folder: what is built depends on nothing else here."""
    total = hashlib.sha256()
    for path in sorted(context.rglob("*")):
        mode = path.lstat().st_mode
        total.update(f"{path.relative_to(context)}\0{mode:o}\0".encode())
        if path.is_symlink():
            total.update(os.readlink(path).encode())
        elif stat.S_ISREG(mode):
            total.update(bytes.fromhex(digest(path)))
    return total.hexdigest()
