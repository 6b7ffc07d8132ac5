"""The package repository's entry on a host (POC row 3)."""

import re

from airavata_runbook.site.parts import Repository

LISTS = "/var/lib/apt/lists"
QUOTED = re.compile(r'[\\|{}\[\]<>"^~_=!@#$%&*]')  # escaped by apt's URItoFileName (apt-pkg/contrib/strutl.cc)


def apt_source(repository: Repository) -> str:
    """A file for /etc/apt/sources.list.d: one flat repository (sources.list(5))."""
    option = f"signed-by={repository.gpgkey}" if repository.gpgcheck else "trusted=yes"
    why = (
        "packages are checked with this key"
        if repository.gpgcheck
        else "packages carry no signature; those of a file:// repository came over SSH and were compared by SHA-256"
    )
    return (
        f"# {repository.id}: {repository.name}\n" + f"# gpgcheck={int(repository.gpgcheck)}: {why}\n"
        f"deb [{option}] {repository.baseurl} ./\n"
    )


def apt_lists(repository: Repository) -> str:
    """A glob of apt's copies of the repository's index: its address without the scheme, escaped as apt does."""
    place = repository.baseurl.partition("://")[2].rstrip("/") + "/./"
    return f"{LISTS}/" + QUOTED.sub(lambda letter: f"%{ord(letter[0]):02x}", place).replace("/", "_") + "*"
