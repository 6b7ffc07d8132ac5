"""Manifests and indexes of images, and the descriptors in them. Source: OCI image-spec 1.1 (manifest, index, descriptor)."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airavata_runbook.images.archive import BadImage

PLATFORM = "linux/amd64"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFESTS = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
INDEXES = (OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
CONFIGS = (OCI_CONFIG, "application/vnd.docker.container.image.v1+json")
# The layers that containerd unpacks.
LAYER = re.compile(
    r"application/vnd\.(oci\.image\.layer\.(nondistributable\.)?v1\.tar(\+gzip|\+zstd)?"
    r"|docker\.image\.rootfs\.(foreign\.)?diff\.tar(\.gzip|\.zstd)?)"
)
# Other things that are kept in registries, by the type of their configuration.
ARTIFACTS = {
    "application/vnd.cncf.helm.config.v1+json": "a Helm chart",
    "application/vnd.docker.plugin.v1+json": "a plugin of Docker",
    "application/vnd.wasm.config.v0+json": "a WebAssembly module",
}
DEPTH, VALUES = 64, 100_000  # of JSON; an image's is 6 deep and has some thousand values
LARGEST = (1 << 63) - 1  # bytes of a blob (OCI descriptor: int64)


@dataclass(frozen=True)
class Descriptor:
    """What a manifest says of a blob: digest ("sha256:…"), size in bytes, media type."""

    digest: str
    size: int
    media_type: str

    @classmethod
    def parse(cls, entry: object, where: str) -> "Descriptor":
        """From JSON. Raises BadImage when it is not what the specification says."""
        match entry:
            case {"digest": str(digest), "size": int(size), "mediaType": str(media_type)}:
                if DIGEST.fullmatch(digest) and 0 <= size <= LARGEST and not isinstance(size, bool):
                    return cls(digest, size, media_type)
        raise BadImage(
            "invalid descriptor of a blob", where=where, found=f"{entry!r:.200}", needed="mediaType, size and a sha256 digest"
        )

    def json(self) -> dict[str, str | int]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def blobs_of(manifest: bytes, where: object) -> tuple[Descriptor, ...]:
    """Config and layers of an image manifest, each digest once. Raises BadImage."""
    config, *layers = _described(manifest, where)
    artifact = str(parse(manifest, where).get("artifactType") or config.media_type)
    if config.media_type not in CONFIGS:
        raise BadImage(
            "not a container image",
            where=str(where),
            found=ARTIFACTS.get(artifact, f"an artifact of type {artifact:.200}"),
            needed=f"a configuration of type {' or '.join(CONFIGS)}",
            remedy="name the image, not what is kept beside it",
        )
    if unknown := sorted({layer.media_type for layer in layers if not LAYER.fullmatch(layer.media_type)}):
        raise BadImage(
            "an image has a layer that containerd does not unpack",
            where=str(where),
            found=", ".join(unknown)[:200],
            needed="layers that are tar archives, uncompressed or compressed by gzip or zstd",
            remedy="build or save the image again, unencrypted",
        )
    return tuple(dict.fromkeys([config, *layers]))


def check_layers(config: Mapping, manifest: bytes, where: str) -> None:
    """Raises BadImage when an image's configuration is of other layers than the manifest has."""
    rootfs, layers = config.get("rootfs"), _described(manifest, where)[1:]
    diff_ids = (rootfs.get("diff_ids") or []) if isinstance(rootfs, dict) else None
    if not isinstance(diff_ids, list) or len(diff_ids) != len(layers):
        raise BadImage(
            "an image's layers do not match its configuration",
            where=where,
            found=f"{len(layers)} layers",
            needed=f"{len(diff_ids)} of rootfs.diff_ids" if isinstance(diff_ids, list) else "rootfs.diff_ids, a list",
            remedy="build or save the image again",
        )


def _described(manifest: bytes, where: object) -> list[Descriptor]:
    """The descriptors of config and layers, in their order. Raises BadImage."""
    data = parse(manifest, where)
    layers = data.get("layers")
    if not isinstance(data.get("config"), dict) or not isinstance(layers, list):
        raise BadImage(
            "not an image manifest",
            where=str(where),
            needed="config and layers",
            found=f"schema {data.get('schemaVersion')}, {data.get('mediaType', 'no media type')}",
        )
    return [Descriptor.parse(entry, str(where)) for entry in [data["config"], *layers]]


def choose(index: Mapping, platform: str, where: str) -> Descriptor:
    """The one manifest of an index that is for `platform`. Raises BadImage, naming the platforms that there are."""
    entries = index.get("manifests")
    if not isinstance(entries, list):
        raise BadImage("an image index lists no manifests", where=where)
    images = {Descriptor.parse(entry, where): _platform(entry) for entry in entries if not _is_attestation(entry)}
    # An entry without a platform counts only where none names the platform: `check_platform` sees its configuration.
    matching = [entry for entry, known in images.items() if known == platform] or [
        entry for entry, known in images.items() if known is None
    ]
    if len(matching) != 1:
        raise BadImage(
            "no single image of an index matches the platform",
            where=where,
            needed=f"exactly one for {platform}",
            found=", ".join(sorted(known or "one without platform" for known in images.values()))[:500] or "none",
            remedy="name an archive or a digest with one image for this platform",
        )
    return matching[0]


def check_platform(config: Mapping, platform: str, where: str) -> None:
    """Raises BadImage when an image's configuration is for another platform."""
    found = f"{config.get('os', 'linux')}/{config.get('architecture', '')}"
    if config.get("architecture") and found != platform:
        raise BadImage("an image is for another platform", where=where, found=found, needed=platform)


def parse(content: bytes, where: object) -> dict:
    """A JSON object. Raises BadImage."""
    data = load(content, where)
    if not isinstance(data, dict):
        raise BadImage("invalid JSON in an image", where=str(where), found=type(data).__name__, needed="a JSON object")
    return data


def load(content: bytes, where: object) -> Any:
    """JSON of limited depth and count. Raises BadImage."""
    try:
        data = json.loads(content)
        _check_extent(data)
    except (ValueError, RecursionError) as error:
        raise BadImage("invalid JSON in an image", where=str(where), found=str(error)[:200]) from None
    return data


def _check_extent(data: object) -> None:
    """Raises ValueError for JSON that is too deep or has too many values."""
    level: list = [data] if isinstance(data, (dict, list)) else []
    count = 0
    for _ in range(DEPTH):
        level = [one for outer in level for one in (outer.values() if isinstance(outer, dict) else outer)]
        count += len(level)
        level = [one for one in level if isinstance(one, (dict, list))]
        if count > VALUES:
            raise ValueError(f"more than {VALUES} values")
        if not level:
            return
    raise ValueError(f"nested deeper than {DEPTH}")


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _platform(entry: Mapping) -> str | None:
    known = entry.get("platform")
    return f"{known.get('os')}/{known.get('architecture')}" if isinstance(known, dict) else None


def _is_attestation(entry: object) -> bool:
    notes = entry.get("annotations") if isinstance(entry, dict) else None
    return isinstance(notes, dict) and notes.get("vnd.docker.reference.type") == "attestation-manifest"
