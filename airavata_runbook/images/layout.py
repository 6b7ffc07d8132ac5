"""One image on this machine's disk: an OCI layout (folder or tar) or an archive of `docker save`, read without unpacking.

Archives come from elsewhere and are not trusted: names that leave the archive, missing or truncated blobs, and content
that does not match its digest are refused. Sources: OCI image-spec 1.1 (layout); Docker's image specification 1.2
(`docker save`).
"""

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Protocol

from airavata_runbook.images.archive import SMALL, BadImage, Files, Folder, compression, read_small
from airavata_runbook.images.manifest import (
    INDEXES,
    MANIFESTS,
    OCI_MANIFEST,
    PLATFORM,
    Descriptor,
    blobs_of,
    check_layers,
    check_platform,
    choose,
    digest_of,
    load,
    parse,
)
from airavata_runbook.images.tar import Tar

CHUNK = 1 << 20  # bytes

OnBytes = Callable[[int], None]


class Cancelled(Exception):
    """A blob is read no further: another one failed, or the user interrupted."""


class Stream(Protocol):
    """Bytes from a file or a connection."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class BlobReader:
    """A blob as a stream: `read(n)`, `len()`, iteration in chunks, `close()`.

    The last bytes are returned only when size and digest match; else BadImage is raised, so that nobody who reads to
    the end uses wrong content. stop: once it is set, the next read raises Cancelled. done: called with the size of what
    was read.
    """

    def __init__(
        self,
        stream: Stream,
        blob: Descriptor,
        where: str,
        stop: threading.Event | None = None,
        done: OnBytes = lambda count: None,
    ):
        self._stream, self._blob, self._where, self._stop, self._done = stream, blob, where, stop, done
        self._hash, self._left = hashlib.sha256(), blob.size

    def __len__(self) -> int:
        return self._blob.size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(CHUNK), b"")

    def read(self, size: int = -1) -> bytes:
        if self._stop and self._stop.is_set():
            raise Cancelled
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._stream.read(wanted) if wanted else b""
        self._hash.update(data)
        self._left -= len(data)
        if wanted and not data:
            raise BadImage(
                "a blob is truncated",
                where=f"{self._where}, {self._blob.digest}",
                found=f"{self._blob.size - self._left} bytes",
                needed=f"{self._blob.size} bytes",
            )
        digest = f"sha256:{self._hash.hexdigest()}"
        if not self._left and digest != self._blob.digest:
            raise BadImage(
                "a blob does not match its digest",
                where=self._where,
                found=digest,
                needed=self._blob.digest,
                remedy="fetch or build the image again",
            )
        self._done(len(data))
        return data

    def close(self) -> None:
        self._stream.close()


class Layout:
    """One image for one platform: `manifest` (bytes), its `digest` and `media_type`, its `blobs` (config first).

    digests: every digest by which this image is known here, the manifest's own and those of the indexes above it.
    """

    def __init__(
        self, files: Files, manifest: bytes, media_type: str, digests: Iterable[str] = (), names: Mapping[str, str] | None = None
    ):
        """names: digest → name of the file, where that is not the one of an OCI layout. Raises BadImage."""
        self.where, self.manifest, self.media_type = files.where, manifest, media_type
        self.digest = digest_of(manifest)
        self.digests = frozenset({self.digest, *digests})
        self._files, self._names = files, names or {}
        self.blobs = blobs_of(manifest, self.where)
        for blob in self.blobs:
            size = files.size(self._name(blob))
            if size != blob.size:
                raise BadImage(
                    "a blob of the image is missing" if size is None else "a blob has the wrong size",
                    where=f"{self.where}, {blob.digest}",
                    needed=f"{blob.size} bytes",
                    found="nothing" if size is None else f"{size} bytes",
                    remedy="fetch or build the image again",
                )

    def __repr__(self) -> str:
        return f"Layout({str(self.where)!r}, {self.digest})"

    @property
    def size(self) -> int:
        """Bytes of all blobs."""
        return sum(blob.size for blob in self.blobs)

    @property
    def config(self) -> dict:
        """The image's configuration (Entrypoint, Env, architecture …), parsed."""
        blob = self.blobs[0]
        if blob.size > SMALL:
            found, needed = f"{blob.size} bytes", f"at most {SMALL} bytes"
            raise BadImage("an image's configuration is too large", where=str(self.where), found=found, needed=needed)
        with closing(self.open(blob)) as reader:
            return parse(reader.read(), self.where)

    def open(self, blob: Descriptor, stop: threading.Event | None = None, done: OnBytes = lambda count: None) -> BlobReader:
        """A blob as a stream that verifies its digest; several can be read at once, from several threads."""
        return BlobReader(self._files.open(self._name(blob)), blob, str(self.where), stop, done)

    def verify(self) -> None:
        """Read every blob and compare it with its digest. Raises BadImage."""
        for blob in self.blobs:
            with closing(self.open(blob)) as reader:
                for _ in reader:
                    pass

    def _name(self, blob: Descriptor) -> str:
        return self._names.get(blob.digest) or blob_name(blob.digest)


def open_archive(path: str | os.PathLike, platform: str = PLATFORM) -> Layout:
    """The image in an OCI layout (folder, .tar, .tar.gz) or an archive of `docker save`.

    platform: which image of an index is used. Small files are checked now, layers while they are read
    (`Layout.verify` reads all). Raises BadImage.
    """
    path = Path(path)
    if not path.exists():
        raise BadImage("no such image archive", where=str(path), remedy="correct the path in the site file")
    files = Folder(path) if path.is_dir() else Tar(path)
    has_list = files.size("manifest.json") is not None
    if files.size("index.json") is not None:
        index = parse(read_small(files, "index.json"), path)
        if index.get("manifests") or not has_list:  # some tools write an empty index beside manifest.json
            return _from_index(files, index, platform)
    if has_list:
        return _from_docker_archive(files, platform)
    raise BadImage(
        "not an image archive",
        where=str(path),
        found="neither index.json nor manifest.json",
        needed="an OCI layout or an archive of `docker save`",
    )


def is_whole(path: Path) -> bool:
    """Whether there is an image whose blobs all match their digests."""
    try:
        open_archive(path).verify()
    except (BadImage, OSError):
        return False
    return True


def blob_name(digest: str) -> str:
    """The file of a blob in an OCI layout."""
    return "blobs/" + digest.replace(":", "/")


def _from_index(files: Files, index: dict, platform: str) -> Layout:
    digests, where = [], str(files.where)
    for _ in range(4):  # an index can point to an index; nobody nests deeper
        chosen = choose(index, platform, where)
        with closing(BlobReader(files.open(blob_name(chosen.digest)), chosen, where)) as reader:
            content = reader.read(SMALL)
        digests.append(chosen.digest)
        if chosen.media_type in MANIFESTS:
            layout = Layout(files, content, chosen.media_type, digests)
            config = layout.config
            check_platform(config, platform, where)
            check_layers(config, content, where)
            return layout
        if chosen.media_type not in INDEXES:
            break
        index = parse(content, where)
    raise BadImage("not an image", where=where, found=chosen.media_type, needed=" or ".join(MANIFESTS))


def _from_docker_archive(files: Files, platform: str) -> Layout:
    """manifest.json only: Docker before 25, podman's docker-archive. They have no OCI manifest: one is derived from it.

    Equal archives get equal manifests, so that a tag made of the digest changes exactly when the content does.
    """
    where = str(files.where)
    try:
        [entry] = load(read_small(files, "manifest.json"), where)
        config_name, layer_names = str(entry["Config"]), [str(name) for name in entry["Layers"]]
    except (ValueError, TypeError, KeyError):
        raise BadImage(
            "manifest.json does not describe one image of `docker save`", where=where, remedy="save one image to an archive"
        ) from None
    config = parse(read_small(files, config_name), where)
    check_platform(config, platform, where)
    config_blob = _describe(files, config_name, "application/vnd.oci.image.config.v1+json")
    layers = [_describe(files, name, "application/vnd.oci.image.layer.v1.tar") for name in layer_names]
    manifest = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config_blob.json(),
            "layers": [layer.json() for layer in layers],
        }
    ).encode()
    check_layers(config, manifest, where)
    _check_diff_ids(config, layers, where)
    names = {blob.digest: name for blob, name in zip([config_blob, *layers], [config_name, *layer_names], strict=True)}
    return Layout(files, manifest, OCI_MANIFEST, names=names)


def _check_diff_ids(config: dict, layers: list[Descriptor], where: str) -> None:
    """Compare the layers with the configuration, which has the digests of uncompressed layers. Raises BadImage."""
    for diff_id, layer in zip(config["rootfs"]["diff_ids"], layers, strict=True):
        if not layer.media_type.endswith("+gzip") and diff_id != layer.digest:
            raise BadImage(
                "a layer does not match its digest",
                where=where,
                found=layer.digest,
                needed=str(diff_id),
                remedy="save the image again",
            )


def _describe(files: Files, name: str, media_type: str) -> Descriptor:
    """The descriptor of a file; its media type says so where gzip compressed it. Raises BadImage."""
    with closing(files.open(name)) as stream:
        start = stream.read(8)
        if (how := compression(start)) not in ("", "gzip"):
            raise BadImage(
                f"a layer in an archive of `docker save` is compressed by {how}",
                where=f"{files.where}, {name}",
                found=how,
                needed="an uncompressed tar, or one compressed by gzip",
                remedy="save the image as an OCI layout: skopeo copy docker-archive:FILE oci-archive:NEW",
            )
        digest, size = hashlib.sha256(start), len(start)
        while chunk := stream.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return Descriptor(f"sha256:{digest.hexdigest()}", size, media_type + "+gzip" * (how == "gzip"))
