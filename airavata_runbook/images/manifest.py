"""Manifests and indexes of images, and the descriptors in them. Source: OCI image-spec 1.1 (manifest, index, descriptor)."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from airavata_runbook.images.archive import BadImage

PLATFORM = "linux/amd64"
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
MANIFESTS = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")
INDEXES = (OCI_INDEX, "application/vnd.docker.distribution.manifest.list.v2+json")


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
                if DIGEST.fullmatch(digest) and size >= 0:
                    return cls(digest, size, media_type)
        raise BadImage(
            "invalid descriptor of a blob", where=where, found=f"{entry!r:.200}", needed="mediaType, size and a sha256 digest"
        )

    def json(self) -> dict[str, str | int]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


def blobs_of(manifest: bytes, where: object) -> tuple[Descriptor, ...]:
    """Config and layers of an image manifest, each digest once. Raises BadImage."""
    data = parse(manifest, where)
    layers = data.get("layers")
    if not isinstance(data.get("config"), dict) or not isinstance(layers, list):
        raise BadImage(
            "not an image manifest",
            where=str(where),
            needed="config and layers",
            found=f"schema {data.get('schemaVersion')}, {data.get('mediaType', 'no media type')}",
        )
    return tuple(dict.fromkeys(Descriptor.parse(entry, str(where)) for entry in [data["config"], *layers]))


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
            found=", ".join(sorted(known or "one without platform" for known in images.values())) or "none",
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
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadImage("invalid JSON in an image", where=str(where), found=str(error)[:200]) from None
    if not isinstance(data, dict):
        raise BadImage("invalid JSON in an image", where=str(where), found=type(data).__name__, needed="a JSON object")
    return data


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _platform(entry: Mapping) -> str | None:
    known = entry.get("platform")
    return f"{known.get('os')}/{known.get('architecture')}" if isinstance(known, dict) else None


def _is_attestation(entry: object) -> bool:
    notes = entry.get("annotations") if isinstance(entry, dict) else None
    return isinstance(notes, dict) and notes.get("vnd.docker.reference.type") == "attestation-manifest"
