"""A small client of image registries: push an image, pull one, ask what is there.

Source: OCI distribution-spec 1.1. Blobs go in parallel and by digest, what the registry has already is not sent again,
the manifest comes last: a push that is interrupted at any point is healed by pushing again.
"""

import json
import os
import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote, urlsplit

from airavata_runbook.images.archive import SMALL, BadImage
from airavata_runbook.images.http import TIMEOUT, Connection, RegistryError, json_of, refused
from airavata_runbook.images.layout import (
    DIGEST,
    INDEXES,
    MANIFESTS,
    PLATFORM,
    BlobReader,
    Descriptor,
    Layout,
    blob_name,
    blobs_of,
    choose,
    digest_of,
    open_archive,
    parse,
)
from airavata_runbook.images.transfer import OnBytes, Received, intact, side_by_side, write

REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")

ACCEPT = {"Accept": ", ".join((*MANIFESTS, *INDEXES))}


class Registry:
    """One registry. For the arguments see `registry_http.Connection`; several threads may use it at once."""

    def __init__(
        self,
        base_url: str,
        *,
        name: str | None = None,
        ca: bytes | str | Path | None = None,
        user: str | None = None,
        password: str | None = None,
        timeout: tuple[float, float] = TIMEOUT,
    ):
        self.connection = Connection(base_url, name, ca, user, password, timeout)
        self._holders: dict[str, str] = {}  # digest of a blob → a repository here that has it

    def __repr__(self) -> str:
        return f"Registry({self.connection.name}, user={self.connection.user})"

    def ping(self) -> int:
        """The status of the API's root: 200, or 401 without (good) credentials. Raises RegistryError."""
        return self.connection.send("GET", "/v2/").status_code

    def has_manifest(self, repository: str, reference: str) -> str | None:
        """The digest of the manifest that a tag or digest stands for, or None. Raises RegistryError."""
        path = f"/v2/{_repository(repository)}/manifests/{_reference(reference)}"
        response = self.connection.send("HEAD", path, scope=_scope(repository), headers=ACCEPT)
        if response.status_code == 404:
            return None
        if response.status_code != 200:
            raise refused(response, self.connection, f"{repository}:{reference}")
        digest = response.headers.get("Docker-Content-Digest", "")
        return digest if DIGEST.fullmatch(digest) else digest_of(self._manifest(repository, reference)[0])

    def tags(self, repository: str) -> list[str]:
        """The tags of a repository, sorted; none for a repository that is not there. Raises RegistryError."""
        found: set[str] = set()
        target = f"/v2/{_repository(repository)}/tags/list"
        while target:
            response = self.connection.send("GET", target, scope=_scope(repository))
            if response.status_code == 404:
                return []
            if response.status_code != 200:
                raise refused(response, self.connection, f"tags of {repository}")
            found.update(json_of(response, self.connection).get("tags") or ())
            target = response.links.get("next", {}).get("url")
        return sorted(found)

    def push(self, repository: str, tag: str, layout: Layout, progress: OnBytes | None = None) -> str:
        """Bring an image into the registry under a tag; the manifest's digest. What is there is not sent again.

        Raises BadImage for an image that is not what it says, RegistryError.
        """
        path = f"/v2/{_repository(repository)}/manifests/{_reference(tag)}"
        if self.has_manifest(repository, tag) != layout.digest:
            side_by_side(layout.blobs, lambda blob, count: self._push_blob(repository, layout, blob, count), progress)
            response = self.connection.send(
                "PUT",
                path,
                scope=_scope(repository, push=True),
                data=layout.manifest,
                headers={"Content-Type": layout.media_type},
            )
            if response.status_code != 201:
                raise refused(response, self.connection, f"{repository}:{tag}")
            there = response.headers.get("Docker-Content-Digest", layout.digest)
            if there != layout.digest:
                raise RegistryError(
                    "a registry changed a manifest",
                    where=f"{self.connection.name}, {repository}:{tag}",
                    found=there,
                    needed=layout.digest,
                )
        self._holders.update({blob.digest: repository for blob in layout.blobs})
        return layout.digest

    def pull(
        self, repository: str, reference: str, into: str | os.PathLike, platform: str = PLATFORM, progress: OnBytes | None = None
    ) -> Layout:
        """Fetch an image into the folder `into`, as an OCI layout. Blobs that are there already are not fetched again.

        reference: a tag or digest, of an image or of an index, from which `platform` is chosen. Every byte is checked
        against its digest. Raises BadImage, RegistryError.
        """
        into = Path(into)
        manifest, kind, top = self._fetch_manifest(repository, reference, into)
        first = {"mediaType": kind, "digest": top, "size": len(manifest)}
        for _ in range(3):
            if kind not in INDEXES:
                break
            chosen = choose(parse(manifest, repository).get("manifests"), platform, f"{repository}, {reference}")
            manifest, kind, _ = self._fetch_manifest(repository, chosen.digest, into)
        if kind not in MANIFESTS:
            raise BadImage(
                "a registry has something else than an image",
                where=f"{repository}, {reference}",
                found=kind,
                needed=" or ".join(MANIFESTS),
            )
        side_by_side(blobs_of(manifest, repository), lambda blob, count: self._pull_blob(repository, blob, into, count), progress)
        write(into / "oci-layout", [b'{"imageLayoutVersion": "1.0.0"}'])
        write(into / "index.json", [json.dumps({"schemaVersion": 2, "manifests": [first]}).encode()])
        return open_archive(into, platform)

    def _manifest(self, repository: str, reference: str) -> tuple[bytes, str, str]:
        """Content, media type and digest of a manifest; the content is what its digest says."""
        path = f"/v2/{_repository(repository)}/manifests/{_reference(reference)}"
        response = self.connection.send("GET", path, scope=_scope(repository), headers=ACCEPT, stream=True)
        with closing(response):
            if response.status_code != 200:
                raise refused(response, self.connection, f"{repository}, {reference}")
            content = Received(response, f"{self.connection.name}/{repository}").read(SMALL + 1)
        digest = digest_of(content)
        wanted = reference if DIGEST.fullmatch(reference) else response.headers.get("Docker-Content-Digest", digest)
        if len(content) > SMALL or digest != wanted:
            raise BadImage(
                "a manifest is not what its digest says",
                where=f"{self.connection.name}/{repository}",
                found=digest,
                needed=wanted,
                remedy="do not use this registry for this image",
            )
        return content, response.headers.get("Content-Type", "").partition(";")[0].strip(), digest

    def _fetch_manifest(self, repository: str, reference: str, into: Path) -> tuple[bytes, str, str]:
        manifest, kind, digest = self._manifest(repository, reference)
        write(into / blob_name(digest), [manifest])
        return manifest, kind, digest

    def _push_blob(self, repository: str, layout: Layout, blob: Descriptor, count: Callable[[int], None]) -> None:
        scope = _scope(repository, push=True)
        if self._has_blob(repository, blob):
            return count(blob.size)
        start = f"/v2/{repository}/blobs/uploads/"
        holder = self._holders.get(blob.digest)
        if holder and holder != repository:
            start += f"?mount={blob.digest}&from={quote(holder, safe='')}"
        response = self.connection.send("POST", start, scope=scope, data=b"")
        if response.status_code == 201:
            return count(blob.size)  # mounted: the registry had it in another repository
        location = response.headers.get("Location")
        if response.status_code != 202 or not location:
            raise refused(response, self.connection, f"an upload to {repository}")
        location += ("&" if urlsplit(location).query else "?") + f"digest={blob.digest}"
        response = self.connection.send(
            "PUT",
            location,
            scope=scope,
            data=lambda: layout.open(blob, count),
            headers={"Content-Type": "application/octet-stream"},
        )
        if response.status_code == 404:  # the upload is unknown: the registry was restarted in between
            raise RegistryError(
                "a registry forgot an upload",
                where=f"{self.connection.name}, {repository}",
                found=f"404 for {blob.digest}",
                retryable=True,
            )
        if response.status_code != 201:
            raise refused(response, self.connection, f"{repository}, {blob.digest}")

    def _has_blob(self, repository: str, blob: Descriptor) -> bool:
        response = self.connection.send(
            "HEAD", f"/v2/{_repository(repository)}/blobs/{blob.digest}", scope=_scope(repository, push=True)
        )
        if response.status_code not in (200, 404):
            raise refused(response, self.connection, f"{repository}, {blob.digest}")
        there = response.headers.get("Content-Length", str(blob.size))
        if response.status_code == 200 and there != str(blob.size):
            # Sending it again would not help: the registry keeps what it has under a digest, unseen.
            digest = blob.digest.removeprefix("sha256:")
            raise RegistryError(
                "a registry holds a damaged blob",
                where=f"{self.connection.name}, {blob.digest}",
                found=f"{there} bytes",
                needed=f"{blob.size} bytes",
                remedy=f"remove docker/registry/v2/blobs/sha256/{digest[:2]}/{digest} from its data, then push again",
            )
        return response.status_code == 200

    def _pull_blob(self, repository: str, blob: Descriptor, into: Path, count: Callable[[int], None]) -> None:
        path = into / blob_name(blob.digest)
        if intact(path, blob):
            return count(blob.size)
        where = f"{self.connection.name}/{repository}"
        with closing(
            self.connection.send("GET", f"/v2/{repository}/blobs/{blob.digest}", scope=_scope(repository), stream=True)
        ) as response:
            if response.status_code != 200:
                raise refused(response, self.connection, f"{repository}, {blob.digest}")
            write(path, BlobReader(Received(response, where), blob, where, count))


def _repository(name: str) -> str:
    if not REPOSITORY.fullmatch(name) or len(name) > 255:
        raise RegistryError("this is no name of a repository", found=repr(name), needed="such as airavata/api-server")
    return name


def _reference(text: str) -> str:
    if not TAG.fullmatch(text) and not DIGEST.fullmatch(text):
        raise RegistryError("this is neither a tag nor a digest", found=repr(text), needed="such as 1.0 or sha256:…")
    return text


def _scope(repository: str, push: bool = False) -> str:
    return f"repository:{repository}:{'pull,push' if push else 'pull'}"
