"""The package repository's entry on a host (POC row 3)."""

import re

from airavata_runbook.serialise import one_line
from airavata_runbook.site.parts import Repository

LISTS = "/var/lib/apt/lists"
QUOTED = re.compile(r'[\\|{}\[\]<>"^~_=!@#$%&*]')  # escaped by apt's URItoFileName (apt-pkg/contrib/strutl.cc)


def apt_source(repository: Repository) -> str:
    """A file for /etc/apt/sources.list.d: one flat repository (sources.list(5)). Only a file:// one may be unsigned."""
    option, why = f"signed-by={repository.gpgkey}", "packages are checked with this key"
    if repository.folder:
        option = "trusted=yes"
        why = "packages carry no signature; those of a file:// repository came over SSH and were compared by SHA-256"
    return (
        f"# {repository.id}: {one_line(repository.name)}\n"
        f"# gpgcheck={int(repository.gpgcheck)}: {why}\n"
        f"deb [{option}] {repository.baseurl} ./\n"
    )


def apt_lists(repository: Repository) -> str:
    """A glob of apt's copies of the repository's index: its address without the scheme, escaped as apt does."""
    place = repository.baseurl.partition("://")[2].rstrip("/") + "/./"
    return f"{LISTS}/" + QUOTED.sub(lambda letter: f"%{ord(letter[0]):02x}", place).replace("/", "_") + "*"
