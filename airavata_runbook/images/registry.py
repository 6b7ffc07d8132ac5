"""A small client of image registries: push an image, pull one, look up a manifest.

Source: OCI distribution-spec 1.1. Blobs are uploaded in parallel and by digest, what the registry has already is not
sent again, the manifest comes last: a push that was interrupted at any point is completed by pushing again.
"""

import json
import os
import shutil
import threading
from collections.abc import Sequence
from contextlib import closing, nullcontext
from pathlib import Path
from urllib.parse import quote, urlsplit

from airavata_runbook.images.archive import SMALL, BadImage
from airavata_runbook.images.http import Connection, RegistryError
from airavata_runbook.images.layout import BlobReader, Layout, OnBytes, blob_name, open_archive
from airavata_runbook.images.manifest import (
    DIGEST,
    INDEXES,
    MANIFESTS,
    PLATFORM,
    Descriptor,
    blobs_of,
    choose,
    digest_of,
    parse,
)
from airavata_runbook.images.reference import REPOSITORY, TAG
from airavata_runbook.images.transfer import ResponseBody, intact, transfer
from airavata_runbook.local.files import room_in, write_file

ACCEPT = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}


class Registry:
    """One registry; thread-safe."""

    def __init__(self, connection: Connection):
        self.connection = connection
        self._holders: dict[str, str] = {}  # digest of a blob → a repository of this registry that has it
        self._sending: dict[str, threading.Lock] = {}  # by the digest of a blob

    def ping(self) -> int:
        """The status of the API's root: 200, or 401 without (good) credentials. Raises RegistryError."""
        return self.status("GET", "/v2/")

    def status(self, method: str, path: str) -> int:
        """The status of the response to any request without a body. Raises RegistryError when there is none."""
        return self.connection.send(method, path, "the API", range(600)).status_code

    def manifest_digest(self, repository: str, reference: str) -> str | None:
        """The digest of the manifest that a tag or digest refers to, None when there is none. Raises RegistryError."""
        path, what = _manifest_path(repository, reference), f"{repository}:{reference}"
        response = self.connection.send("HEAD", path, what, (200, 404), scope=_scope(repository), headers=ACCEPT)
        if response.status_code == 404:
            return None
        digest = response.headers.get("Docker-Content-Digest", "")
        return digest if DIGEST.fullmatch(digest) else digest_of(self._manifest(repository, reference)[0])

    def push(self, repository: str, tag: str, layout: Layout, done: OnBytes = lambda count: None) -> str:
        """Push an image under a tag; returns the manifest's digest. What the registry has already is not sent again, and a blob
        of several images that are pushed side by side is sent once.

        done: called with numbers of bytes that the registry has now, from several threads. Raises BadImage for an image that
        does not match its digests, RegistryError.
        """
        if self.manifest_digest(repository, tag) != layout.digest:
            transfer(layout.blobs, lambda blob, stop: self._push_blob(repository, layout, blob, stop, done))
            self._put_manifest(repository, tag, layout.manifest, layout.media_type)
        self._holders.update({blob.digest: repository for blob in layout.blobs})
        return layout.digest

    def tag(self, repository: str, digest: str, tag: str) -> None:
        """Make a tag refer to a manifest that the repository has. Raises BadImage, RegistryError."""
        manifest, media_type = self._manifest(repository, digest)
        self._put_manifest(repository, tag, manifest, media_type)

    def pull(self, repository: str, reference: str, into: str | os.PathLike, platform: str = PLATFORM) -> Layout:
        """Pull an image into the folder `into`, as an OCI layout. Blobs that are there already are not pulled again.

        reference: a tag or digest, of an image or of an index, from which `platform` is chosen. Every byte is verified
        against its digest. Raises BadImage, RegistryError, CannotBuild for a full disk.
        """
        into, where = Path(into), f"{repository}, {reference}"
        manifest, media_type = self._pull_manifest(repository, reference, into)
        top = Descriptor(digest_of(manifest), len(manifest), media_type)
        for _ in range(3):
            if media_type not in INDEXES:
                break
            chosen = choose(parse(manifest, repository), platform, where)
            manifest, media_type = self._pull_manifest(repository, chosen.digest, into)
        if media_type not in MANIFESTS:
            raise BadImage("not an image in the registry", where=where, found=media_type, needed=" or ".join(MANIFESTS))
        blobs = blobs_of(manifest, where)
        _check_space(blobs, into)
        with room_in(into):
            transfer(blobs, lambda blob, stop: self._pull_blob(repository, blob, into, stop))
        write_file(into / "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
        write_file(into / "index.json", json.dumps({"schemaVersion": 2, "manifests": [top.json()]}).encode())
        return open_archive(into, platform)

    def _manifest(self, repository: str, reference: str) -> tuple[bytes, str]:
        """Content and media type of a manifest; the content matches its digest."""
        path, what = _manifest_path(repository, reference), f"{repository}, {reference}"
        with self.connection.send("GET", path, what, (200,), scope=_scope(repository), headers=ACCEPT, stream=True) as response:
            content = ResponseBody(response, f"{self.connection.name}/{repository}").read(SMALL + 1)
        if len(content) > SMALL:
            where, found = f"{self.connection.name}/{repository}", f"more than {SMALL} bytes"
            raise BadImage("a manifest is too large", where=where, found=found, needed=f"at most {SMALL} bytes")
        digest = digest_of(content)
        wanted = reference if DIGEST.fullmatch(reference) else response.headers.get("Docker-Content-Digest", digest)
        if digest != wanted:
            raise BadImage(
                "a manifest does not match its digest",
                where=f"{self.connection.name}/{repository}",
                found=digest,
                needed=wanted,
                remedy="do not use this registry for this image",
            )
        return content, response.headers.get("Content-Type", "").partition(";")[0].strip()

    def _put_manifest(self, repository: str, tag: str, manifest: bytes, media_type: str) -> None:
        response = self.connection.send(
            "PUT",
            _manifest_path(repository, tag),
            f"{repository}:{tag}",
            (201,),
            scope=_scope(repository, push=True),
            data=lambda: nullcontext(manifest),
            headers={"Content-Type": media_type},
        )
        digest = digest_of(manifest)
        stored = response.headers.get("Docker-Content-Digest", digest)
        if stored != digest:
            raise RegistryError(
                "a registry changed a manifest",
                where=f"{self.connection.name}, {repository}:{tag}",
                found=stored,
                needed=digest,
            )

    def _pull_manifest(self, repository: str, reference: str, into: Path) -> tuple[bytes, str]:
        manifest, media_type = self._manifest(repository, reference)
        write_file(into / blob_name(digest_of(manifest)), manifest)
        return manifest, media_type

    def _push_blob(self, repository: str, layout: Layout, blob: Descriptor, stop: threading.Event, done: OnBytes) -> None:
        with self._sending.setdefault(blob.digest, threading.Lock()):
            if not self._has_blob(repository, blob) and (location := self._begin(repository, blob)):
                self._upload(repository, location, layout, blob, stop, done)
            else:
                done(blob.size)
            self._holders[blob.digest] = repository

    def _begin(self, repository: str, blob: Descriptor) -> str:
        """Where to upload a blob; "" when the registry takes it from another repository, which it is known to be in."""
        start = f"/v2/{repository}/blobs/uploads/"
        holder = self._holders.get(blob.digest)
        if holder and holder != repository:
            start += f"?mount={blob.digest}&from={quote(holder, safe='')}"
        scope = _scope(repository, push=True)
        response = self.connection.send("POST", start, f"an upload to {repository}", (201, 202), scope=scope)
        location = response.headers.get("Location")
        if response.status_code == 202 and not location:
            raise RegistryError("an upload without a Location", where=f"{self.connection.name}, {repository}")
        return location if location and response.status_code == 202 else ""

    def _upload(
        self, repository: str, location: str, layout: Layout, blob: Descriptor, stop: threading.Event, done: OnBytes
    ) -> None:
        location += ("&" if urlsplit(location).query else "?") + f"digest={blob.digest}"
        response = self.connection.send(
            "PUT",
            location,
            f"{repository}, {blob.digest}",
            (201, 404),
            scope=_scope(repository, push=True),
            data=lambda: closing(layout.open(blob, stop, done)),
            headers={"Content-Type": "application/octet-stream"},
        )
        if response.status_code == 404:  # the upload is unknown: the registry was restarted in between
            raise RegistryError(
                "a registry lost an upload",
                where=f"{self.connection.name}, {repository}",
                found=f"404 for {blob.digest}",
                retryable=True,
            )

    def _has_blob(self, repository: str, blob: Descriptor) -> bool:
        path, what = f"/v2/{repository}/blobs/{blob.digest}", f"{repository}, {blob.digest}"
        response = self.connection.send("HEAD", path, what, (200, 404), scope=_scope(repository, push=True))
        if response.status_code == 404:
            return False
        stored = response.headers.get("Content-Length", str(blob.size))
        if stored != str(blob.size):
            # Uploading it again would not help: the registry keeps what it has under a digest, unverified.
            digest = blob.digest.removeprefix("sha256:")
            raise RegistryError(
                "a registry has a damaged blob",
                where=f"{self.connection.name}, {blob.digest}",
                found=f"{stored} bytes",
                needed=f"{blob.size} bytes",
                remedy=f"remove docker/registry/v2/blobs/sha256/{digest[:2]}/{digest} from its data, then push again",
            )
        return True

    def _pull_blob(self, repository: str, blob: Descriptor, into: Path, stop: threading.Event) -> None:
        path = into / blob_name(blob.digest)
        if intact(path, blob):
            return
        where, source = f"{self.connection.name}/{repository}", f"/v2/{repository}/blobs/{blob.digest}"
        what = f"{repository}, {blob.digest}"
        with self.connection.send("GET", source, what, (200,), scope=_scope(repository), stream=True) as response:
            write_file(path, BlobReader(ResponseBody(response, where), blob, where, stop))


def _check_space(blobs: Sequence[Descriptor], into: Path) -> None:
    """Raises BadImage when what a manifest announces does not fit on the disk."""
    missing = sum(blob.size for blob in blobs if not (into / blob_name(blob.digest)).exists())
    free = shutil.disk_usage(into).free
    if missing > free:
        raise BadImage(
            "an image does not fit on this machine's disk",
            where=str(into),
            found=f"{free} bytes free",
            needed=f"{missing} bytes",
            remedy="free disk space",
        )


def _manifest_path(repository: str, reference: str) -> str:
    """Raises RegistryError for an invalid repository, or for what is neither a tag nor a digest."""
    if not REPOSITORY.fullmatch(repository) or len(repository) > 255:
        raise RegistryError("invalid repository name", found=repr(repository), needed="such as airavata/api-server")
    if not TAG.fullmatch(reference) and not DIGEST.fullmatch(reference):
        raise RegistryError("neither a tag nor a digest", found=repr(reference), needed="such as 1.0 or sha256:…")
    return f"/v2/{repository}/manifests/{reference}"


def _scope(repository: str, push: bool = False) -> str:
    return f"repository:{repository}:{'pull,push' if push else 'pull'}"
