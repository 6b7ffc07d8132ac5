"""An image's reference: registry, repository, tag and digest."""

import re
from dataclasses import dataclass

from airavata_runbook.images.archive import BadImage
from airavata_runbook.images.manifest import DIGEST

HOST = re.compile(r"[A-Za-z0-9.-]+(:\d+)?|\[[0-9a-fA-F:]+\](:\d+)?")
REPOSITORY = re.compile(r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True)
class Reference:
    """An image's name, parsed: registry.example.org:5000/team/api:1.0@sha256:… (tag, digest: one can be None)."""

    host: str
    repository: str
    tag: str | None
    digest: str | None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Short names are Docker Hub's, as everywhere. Raises BadImage."""
        name, _, digest = text.partition("@")
        if digest and not DIGEST.fullmatch(digest):
            raise BadImage("invalid digest in an image reference", found=text, needed="NAME[:TAG]@sha256:…")
        host, slash, rest = name.partition("/")
        if not slash or not (set(".:") & set(host) or host == "localhost"):
            host, rest = "docker.io", name if slash else f"library/{name}"
        repository, _, tag = rest.partition(":")
        if not HOST.fullmatch(host) or not REPOSITORY.fullmatch(repository) or (tag and not TAG.fullmatch(tag)):
            raise BadImage("invalid image reference", found=text, needed="HOST[:PORT]/NAME[:TAG]@sha256:…")
        return cls(host, repository, tag or None, digest or None)

    @property
    def url(self) -> str:
        """The registry's URL; Docker Hub's registry has another name than its images."""
        return "https://" + ("registry-1.docker.io" if self.host in ("docker.io", "index.docker.io") else self.host)
