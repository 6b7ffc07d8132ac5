"""An image's reference: registry, repository, tag and digest."""

import re
from dataclasses import dataclass

from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.layout import DIGEST
from airavata_runbook.images.registry import REPOSITORY

HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")


@dataclass(frozen=True)
class Reference:
    """An image's name taken apart: registry.example.org:5000/team/api:1.0@sha256:… (tag, digest: one may be None)."""

    host: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Short names are Docker Hub's, as everywhere. Raises BadImage."""
        name, _, digest = text.partition("@")
        if digest and not DIGEST.fullmatch(digest):
            raise BadImage("an image's reference has no usable digest", found=text, needed="NAME[:TAG]@sha256:…")
        first, slash, rest = name.partition("/")
        if not slash or not (set(".:") & set(first) or first == "localhost"):
            first, rest = "docker.io", name if slash else f"library/{name}"
        repository, colon, label = rest.rpartition(":")
        if not colon:
            repository, label = rest, ""
        if not HOST.fullmatch(first) or not REPOSITORY.fullmatch(repository):
            raise BadImage("this is no reference of an image", found=text, needed="HOST[:PORT]/NAME[:TAG]@sha256:…")
        return cls(first, repository, label or None, digest or None)

    @property
    def url(self) -> str:
        """Where its registry answers; Docker Hub's registry has another name than its images."""
        return "https://" + ("registry-1.docker.io" if self.host in ("docker.io", "index.docker.io") else self.host)
