"""Small images for tests: OCI layouts and `docker save` archives, right and wrong."""

import gzip
import hashlib
import io
import json
import tarfile
from pathlib import Path

OCI = "application/vnd.oci.image."


def sha(content: bytes) -> str:
    return "sha256:" + hashlib.sha256(content).hexdigest()


def layer(text: str, size: int = 0) -> bytes:
    """An uncompressed layer with one file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        info = tarfile.TarInfo("etc/text")
        info.size = len(text) + size
        tar.addfile(info, io.BytesIO(text.encode() + bytes(size)))
    return buffer.getvalue()


def config_of(layers: list[bytes], architecture: str = "amd64", **config) -> bytes:
    return json.dumps(
        {
            "os": "linux",
            "architecture": architecture,
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [sha(content) for content in layers]},
        }
    ).encode()


def image(*layers: bytes, architecture: str = "amd64", **config) -> tuple[bytes, dict[str, bytes]]:
    """An OCI manifest and its blobs by digest; layers compressed by gzip."""
    zipped = [gzip.compress(content, 1, mtime=0) for content in layers]
    settings = config_of(list(layers), architecture, **config)
    blobs = {sha(content): content for content in (settings, *zipped)}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI + "manifest.v1+json",
        "config": descriptor(settings, OCI + "config.v1+json"),
        "layers": [descriptor(content, OCI + "layer.v1.tar+gzip") for content in zipped],
    }
    return json.dumps(manifest).encode(), blobs


def descriptor(content: bytes, kind: str = OCI + "manifest.v1+json", **more) -> dict:
    return {"mediaType": kind, "digest": sha(content), "size": len(content), **more}


def index(*entries: dict) -> bytes:
    return json.dumps({"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": list(entries)}).encode()


def files_of(manifest: bytes, blobs: dict[str, bytes], top: bytes | None = None) -> dict[str, bytes]:
    """The files of an OCI layout by name."""
    files = {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": top or index(descriptor(manifest))}
    return files | {
        "blobs/" + digest.replace(":", "/"): content for digest, content in {sha(manifest): manifest, **blobs}.items()
    }


def write_folder(path: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w", links: dict[str, str] | None = None) -> Path:
    """A tar of files, and of symbolic links by name."""
    with tarfile.open(path, mode) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return path


def docker_files(*layers: bytes, architecture: str = "amd64") -> dict[str, bytes]:
    """The files of a `docker save` archive before Docker 25."""
    config = config_of(list(layers), architecture)
    names = [f"{number:064x}/layer.tar" for number in range(len(layers))]
    entry = {"Config": sha(config)[7:] + ".json", "RepoTags": ["api:1"], "Layers": names}
    files = {entry["Config"]: config, "manifest.json": json.dumps([entry]).encode()}
    return files | dict(zip(names, layers, strict=True))
