"""Writes container images: layers of a root folder, and OCI layouts of layers. The same input gives the same bytes: names
are sorted, every time is EPOCH, owners are numbers.

A layer is the difference between two snapshots of a root. The kernel updates a file's change time (ctime) with every change,
so nothing has to be mounted, copied or compared by content. Source: OCI image-spec 1.1.
"""

import gzip
import hashlib
import io
import json
import os
import shutil
import stat
import subprocess
import tarfile
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from airavata_runbook.errors import CannotBuild
from airavata_runbook.images.layout import blob_name
from airavata_runbook.images.manifest import OCI_MANIFEST, digest_of
from airavata_runbook.local.once import remove

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

EPOCH = 1767225600  # 2026-01-01T00:00:00Z, the time of every file in a layer
CREATED = "2026-01-01T00:00:00Z"
LEVEL = 6  # of gzip; the base, 84 MB: level 1 gives 33.9 MB in 1.2 s, 3 32.8 in 1.7, 6 31.0 in 3.2 (once; pulled often)
WHITEOUT = ".wh."
IGNORED = ("dev", "proc", "sys")  # mounted in a container: their content is not part of an image

Snapshot = dict[str, os.stat_result]


@dataclass(frozen=True)
class Layer:
    """A compressed layer. digest, size: of the file itself; diff_id: of the tar in it. removed: names below the root
    that are to be deleted before it is unpacked onto its parent."""

    digest: str
    diff_id: str
    size: int
    removed: tuple[str, ...] = ()


def snapshot(root: Path) -> Snapshot:
    """Every file, link and folder below `root`, by name relative to it."""
    found: Snapshot = {}
    for folder, names, files in os.walk(root):
        inside = Path(folder).relative_to(root)
        for name in (*names, *files):
            found[str(inside / name)] = os.lstat(os.path.join(folder, name))
        if str(inside) in IGNORED:
            for name in (*names, *files):
                del found[str(inside / name)]
            names.clear()
    return found


def write_layer(root: Path, target: Path, before: Snapshot | None = None, level: int = LEVEL) -> Layer:
    """Write what changed below `root` since `before` (None: everything) to the file `target`, a tar packed by gzip."""
    old, new = before or {}, snapshot(root)
    gone = [name for name in old if name not in new]
    # A folder that went takes along what was in it.
    gone = sorted(name for name in gone if str(PurePosixPath(name).parent) not in set(gone))
    replaced = sorted(name for name in new if name in old and _kind(new[name]) != _kind(old[name]))
    with target.open("wb") as file:
        outer = _Hashing(file)
        with gzip.GzipFile("", "wb", level, outer, mtime=0) as zipped:
            inner = _Hashing(zipped)
            with tarfile.open(fileobj=inner, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20) as tar:
                for name in sorted([name for name in new if _changed(old.get(name), new[name])]):
                    _add(tar, root, name)
                for name in gone:
                    path = PurePosixPath(name)
                    tar.addfile(_same(tarfile.TarInfo(str(path.with_name(WHITEOUT + path.name)))))
    return Layer(outer.digest, inner.digest, target.stat().st_size, tuple(sorted({*gone, *replaced})))


def unpack(layer: Layer, file: Path, root: Path) -> None:
    """Apply a layer to `root` as root, on top of what is there. Raises CannotBuild."""
    for name in layer.removed:
        remove(root / name)
    done = subprocess.run(
        [
            "tar",
            "--extract",
            "--gzip",
            f"--file={file}",
            f"--directory={root}",
            "--numeric-owner",
            "--preserve-permissions",
            "--same-owner",
            "--wildcards",
            f"--exclude={WHITEOUT}*",
        ],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise CannotBuild(
            "a layer could not be unpacked",
            where=str(file),
            found=done.stderr.strip()[-500:],
            remedy=f"remove {file.parent}: it will be built again",
        )


def write_layout(target: Path, layers: list[tuple[Layer, Path]], config: dict, labels: dict[str, str]) -> str:
    """Write an OCI layout of one linux/amd64 image to the new folder `target`; return the manifest's digest.

    layers: the lowest first, each with its file, which is linked into the layout where that can be done. config:
    Entrypoint, Cmd, User, Env, ExposedPorts, WorkingDir as in OCI's image configuration.
    """
    (target / "blobs/sha256").mkdir(parents=True)
    content = _json(
        {
            "created": CREATED,
            "architecture": "amd64",
            "os": "linux",
            "config": {**config, "Labels": labels},
            "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer, _ in layers]},
            "history": [{"created": CREATED, "created_by": "airavata-runbook mirror"} for _ in layers],
        }
    )
    for layer, file in layers:
        _link(file, target / blob_name(layer.digest))
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": _blob(target, content, "application/vnd.oci.image.config.v1+json"),
            "layers": [
                {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer.digest, "size": layer.size}
                for layer, _ in layers
            ],
            "annotations": labels,
        }
    )
    entry = _blob(target, manifest, OCI_MANIFEST) | {"platform": {"os": "linux", "architecture": "amd64"}}
    (target / "oci-layout").write_bytes(_json({"imageLayoutVersion": "1.0.0"}))
    (target / "index.json").write_bytes(_json({"schemaVersion": 2, "manifests": [entry]}))
    return entry["digest"]


def to_json(layer: Layer) -> dict:
    return asdict(layer)


def from_json(data: dict) -> Layer:
    """The layer that `to_json` described. Raises TypeError or KeyError when it is none."""
    return Layer(**{**data, "removed": tuple(data["removed"])})


class _Hashing(io.BufferedIOBase):
    """Passes what is written on to `stream`, and keeps the sha256 of it."""

    def __init__(self, stream: IO[bytes] | gzip.GzipFile):
        self._stream, self._hash = stream, hashlib.sha256()

    def write(self, data: "ReadableBuffer") -> int:
        self._hash.update(data)
        self._stream.write(data)
        return memoryview(data).nbytes

    @property
    def digest(self) -> str:
        return f"sha256:{self._hash.hexdigest()}"


def _kind(status: os.stat_result) -> int:
    return stat.S_IFMT(status.st_mode)


def _changed(old: os.stat_result | None, new: os.stat_result) -> bool:
    if old is None or (old.st_mode, old.st_uid, old.st_gid) != (new.st_mode, new.st_uid, new.st_gid):
        return True
    # A folder's own change time tells of its entries, which speak for themselves.
    return not stat.S_ISDIR(new.st_mode) and (old.st_ino, old.st_ctime_ns) != (new.st_ino, new.st_ctime_ns)


def _add(tar: tarfile.TarFile, root: Path, name: str) -> None:
    info = tar.gettarinfo(str(root / name), arcname=name)
    if info is None:
        return  # a socket: nobody listens on it any more
    _same(info)
    if info.isreg():
        with (root / name).open("rb") as file:
            tar.addfile(info, file)
    else:
        tar.addfile(info)


def _same(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.mtime, info.uname, info.gname = EPOCH, "", ""
    return info


def _link(file: Path, target: Path) -> None:
    if target.exists():
        return  # two equal layers in one image
    try:
        os.link(file, target)
    except OSError:  # another file system
        shutil.copyfile(file, target)


def _blob(target: Path, content: bytes, kind: str) -> dict:
    digest = digest_of(content)
    (target / blob_name(digest)).write_bytes(content)
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _json(data: dict) -> bytes:
    return json.dumps(data, sort_keys=True).encode()
