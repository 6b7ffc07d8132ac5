"""The package repository's entry on a host (POC row 3)."""

import re

from airavata_runbook.serialise import one_line
from airavata_runbook.site.parts import Repository
from airavata_runbook.wellknown import KEYRING

LISTS = "/var/lib/apt/lists"
QUOTED = re.compile(r'[\\|{}\[\]<>"^~_=!@#$%&*]')  # escaped by apt's URItoFileName (apt-pkg/contrib/strutl.cc)


def apt_source(repository: Repository) -> str:
    """A file for /etc/apt/sources.list.d: one flat repository (sources.list(5)), whose signature apt verifies in any case.

    For file:// it says copy:, because apt uses the files of a file: repository where they are, without a copy that it has
    verified: the index may change after it was verified, and a package between its verification and its installation.
    """
    address, key = repository.baseurl, repository.gpgkey
    why = "gpgcheck=1: packages are checked with this key"
    if repository.folder:
        address, key = f"copy:{repository.folder}", KEYRING
        given = "" if repository.gpgcheck else ", although gpgcheck is false in the site file"
        why = (
            f"gpgcheck=1{given}: the runbook signs the index of the packages with a key of the site\n"
            f"# {repository.baseurl}, from which apt installs verified copies"
        )
    return f"# {repository.id}: {one_line(repository.name)}\n# {why}\ndeb [signed-by={key}] {address} ./\n"


def apt_lists(repository: Repository) -> str:
    """A glob of apt's copies of the repository's index: its address without the scheme, escaped as apt does."""
    place = repository.baseurl.partition("://")[2].rstrip("/") + "/./"
    return f"{LISTS}/" + QUOTED.sub(lambda letter: f"%{ord(letter[0]):02x}", place).replace("/", "_") + "*"
