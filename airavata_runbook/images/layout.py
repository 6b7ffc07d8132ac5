"""One image on this machine's disk: an OCI layout (folder or tar) or what `docker save` wrote, read without unpacking.

Archives come from elsewhere and are not trusted: names that leave the archive, missing or cut blobs, and content
that is not what its digest says are refused. Sources: OCI image-spec 1.1 (layout, index, manifest); the format of
`docker save` as Docker's image specification 1.2 has it.
"""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from airavata_runbook.images.archive import SMALL, BadImage, Files, open_files, read_small

PLATFORM = "linux/amd64"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFESTS = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
INDEXES = (OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
CHUNK = 1 << 20


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of a blob: digest ("sha256:…"), size in bytes, media type."""

    digest: str
    size: int
    media_type: str

    @classmethod
    def of(cls, entry: object, where: str) -> "Descriptor":
        """From JSON. Raises BadImage when it is not what the specification says."""
        match entry:
            case {"digest": str(digest), "size": int(size), "mediaType": str(kind)}:
                if DIGEST.fullmatch(digest) and size >= 0:
                    return cls(digest, size, kind)
        raise BadImage(
            "a manifest names a blob in a way that cannot be used",
            where=where,
            found=f"{entry!r:.200}",
            needed="mediaType, size and a sha256 digest",
        )


class BlobReader:
    """A blob as a stream: `read(n)`, `len()`, iteration in chunks, `close()`; count is told the bytes read so far.

    The last bytes are only handed out when length and digest are right; else BadImage is raised, so that nobody who
    reads to the end takes wrong content for right.
    """

    def __init__(self, stream, blob: Descriptor, where: str, count: Callable[[int], None] | None = None):
        self._stream, self._blob, self._where, self._count = stream, blob, where, count
        self._hash, self._left = hashlib.sha256(), blob.size

    def __len__(self) -> int:
        return self._blob.size

    def __iter__(self) -> Iterator[bytes]:
        return iter(lambda: self.read(CHUNK), b"")

    def read(self, size: int = -1) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        data = self._stream.read(wanted) if wanted else b""
        self._hash.update(data)
        self._left -= len(data)
        if wanted and not data:
            raise BadImage(
                "a blob is cut short",
                where=f"{self._where}, {self._blob.digest}",
                found=f"{self._blob.size - self._left} bytes",
                needed=f"{self._blob.size} bytes",
            )
        if not self._left and f"sha256:{self._hash.hexdigest()}" != self._blob.digest:
            raise BadImage(
                "a blob is not what its digest says",
                where=self._where,
                found=f"sha256:{self._hash.hexdigest()}",
                needed=self._blob.digest,
                remedy="fetch or make the image again",
            )
        if self._count:
            self._count(self._blob.size - self._left)
        return data

    def close(self) -> None:
        self._stream.close()


class Layout:
    """One image for one platform: `manifest` (bytes), its `digest` and `media_type`, its `blobs` (config first).

    digests: every digest that this image is known by here, the manifest's own and those of the indexes above it.
    """

    def __init__(
        self, files: Files, manifest: bytes, media_type: str, digests: Iterable[str], names: Mapping[str, str] | None = None
    ):
        self.where, self.manifest, self.media_type = files.where, manifest, media_type
        self.digest = digest_of(manifest)
        self.digests = frozenset({self.digest, *digests})
        self._files, self._names = files, names or {}
        self.blobs = blobs_of(manifest, self.where)
        for blob in self.blobs:
            size = files.size(self._name(blob))
            if size != blob.size:
                raise BadImage(
                    "a blob of the image is missing" if size is None else "a blob has another size",
                    where=f"{self.where}, {blob.digest}",
                    needed=f"{blob.size} bytes",
                    found="nothing" if size is None else f"{size} bytes",
                    remedy="fetch or make the image again",
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
        with closing(self.open(self.blobs[0])) as reader:
            return parse(reader.read(SMALL), self.where)

    def open(self, blob: Descriptor, count: Callable[[int], None] | None = None) -> BlobReader:
        """A blob as a stream that checks itself; several may be read at once, from several threads."""
        return BlobReader(self._files.open(self._name(blob)), blob, str(self.where), count)

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

    platform: which of several is taken. Small files are checked now, layers while they are read (`Layout.verify`
    reads all). Raises BadImage.
    """
    path = Path(path)
    if not path.exists():
        raise BadImage("there is no such image archive", where=str(path), remedy="correct the path in the site file")
    files = open_files(path)
    if files.size("index.json") is not None:
        return _from_index(files, platform)
    if files.size("manifest.json") is not None:
        return _from_docker(files, platform)
    raise BadImage(
        "this is no image archive",
        where=str(path),
        found="neither index.json nor manifest.json",
        needed="an OCI layout or what `docker save` writes",
    )


def choose(entries: object, platform: str, where: str) -> Descriptor:
    """The one descriptor among an index's manifests that is for `platform`. Raises BadImage, naming what there is."""
    if not isinstance(entries, list):
        raise BadImage("an image index lists no manifests", where=where)
    images = {Descriptor.of(entry, where): _platform(entry) for entry in entries if not _is_attestation(entry)}
    fitting = [blob for blob, known in images.items() if known == platform] or [
        blob for blob, known in images.items() if known is None
    ]
    if len(fitting) != 1:
        raise BadImage(
            "an image cannot be chosen from an index",
            where=where,
            needed=f"exactly one for {platform}",
            found=", ".join(sorted(known or "one without platform" for known in images.values())) or "none",
            remedy="name an archive or a digest with one image for this platform",
        )
    return fitting[0]


def check_platform(config: Mapping, platform: str, where: str) -> None:
    """Raises BadImage when an image's configuration is for another platform."""
    found = f"{config.get('os', 'linux')}/{config.get('architecture', '')}"
    if config.get("architecture") and found != platform:
        raise BadImage("an image is for another kind of machine", where=where, found=found, needed=platform)


def blobs_of(manifest: bytes, where: object) -> tuple[Descriptor, ...]:
    """Config and layers of an image manifest, each digest once. Raises BadImage."""
    data = parse(manifest, where)
    layers = data.get("layers")
    if not isinstance(data.get("config"), dict) or not isinstance(layers, list):
        raise BadImage(
            "this is no image manifest",
            where=str(where),
            needed="config and layers",
            found=f"schema {data.get('schemaVersion')}, {data.get('mediaType', 'no media type')}",
        )
    return tuple(dict.fromkeys(Descriptor.of(entry, str(where)) for entry in [data["config"], *layers]))


def parse(content: bytes, where: object) -> dict:
    """A JSON object. Raises BadImage."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadImage("an image's description is no JSON", where=str(where), found=str(error)[:200]) from None
    if not isinstance(data, dict):
        raise BadImage("an image's description is no JSON object", where=str(where), found=type(data).__name__)
    return data


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def blob_name(digest: str) -> str:
    """Where an OCI layout keeps a blob."""
    return "blobs/" + digest.replace(":", "/")


def _platform(entry: Mapping) -> str | None:
    known = entry.get("platform")
    return f"{known.get('os')}/{known.get('architecture')}" if isinstance(known, dict) else None


def _is_attestation(entry: object) -> bool:
    notes = entry.get("annotations") if isinstance(entry, dict) else None
    return isinstance(notes, dict) and notes.get("vnd.docker.reference.type") == "attestation-manifest"


def _from_index(files: Files, platform: str) -> Layout:
    content, digests = read_small(files, "index.json"), []
    for _ in range(4):  # an index may point to an index; nobody nests deeper
        chosen = choose(parse(content, files.where).get("manifests"), platform, str(files.where))
        reader = BlobReader(files.open(blob_name(chosen.digest)), chosen, str(files.where))
        with closing(reader):
            content = reader.read(SMALL)
        digests.append(chosen.digest)
        if chosen.media_type in MANIFESTS:
            layout = Layout(files, content, chosen.media_type, digests)
            check_platform(layout.config, platform, str(files.where))
            return layout
        if chosen.media_type not in INDEXES:
            break
    raise BadImage(
        "an archive holds something else than an image",
        where=str(files.where),
        found=chosen.media_type,
        needed=" or ".join(MANIFESTS),
    )


def _from_docker(files: Files, platform: str) -> Layout:
    """`docker save` before Docker 25: no OCI manifest, so one is made, always the same for the same archive."""
    try:
        [entry] = json.loads(read_small(files, "manifest.json"))
        config_name, layer_names = str(entry["Config"]), [str(name) for name in entry["Layers"]]
    except (ValueError, TypeError, KeyError):
        raise BadImage(
            "manifest.json is not what `docker save` writes for one image",
            where=str(files.where),
            remedy="save one image to an archive",
        ) from None
    config = parse(read_small(files, config_name), files.where)
    check_platform(config, platform, str(files.where))
    blobs = [_measure(files, name) for name in (config_name, *layer_names)]
    _check_layers(config, blobs[1:], str(files.where))
    kind = "application/vnd.oci.image.layer.v1.tar"
    config_blob = {"mediaType": "application/vnd.oci.image.config.v1+json", **blobs[0][0]}
    layers = [{"mediaType": kind + ("+gzip" if zipped else ""), **layer} for layer, zipped in blobs[1:]]
    manifest = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config_blob, "layers": layers}
    names = {blob["digest"]: name for (blob, _), name in zip(blobs, (config_name, *layer_names), strict=True)}
    return Layout(files, json.dumps(manifest).encode(), OCI_MANIFEST, [], names)


def _check_layers(config: dict, layers: list[tuple[dict, bool]], where: str) -> None:
    """Compare the layers with what the configuration says of them; of a compressed layer it says nothing."""
    rootfs = config.get("rootfs")
    wanted = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    if not isinstance(wanted, list) or len(wanted) != len(layers):
        raise BadImage(
            "an image's layers are not those of its configuration",
            where=where,
            found=f"{len(layers)} layers",
            needed=f"rootfs.diff_ids: {wanted!r:.200}",
            remedy="save the image again",
        )
    for diff, (layer, zipped) in zip(wanted, layers, strict=True):
        if not zipped and diff != layer["digest"]:
            raise BadImage(
                "a layer is not what its digest says",
                where=where,
                found=layer["digest"],
                needed=str(diff),
                remedy="save the image again",
            )


def _measure(files: Files, name: str) -> tuple[dict, bool]:
    """Digest and size of a file, and whether it is compressed by gzip."""
    digest, zipped, size = hashlib.sha256(), False, 0
    with closing(files.open(name)) as stream:
        while chunk := stream.read(CHUNK):
            zipped = zipped or (not size and chunk[:2] == b"\x1f\x8b")
            digest.update(chunk)
            size += len(chunk)
    return {"digest": f"sha256:{digest.hexdigest()}", "size": size}, zipped
