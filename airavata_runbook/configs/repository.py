"""The package repository's entry on a host (POC row 3)."""

from airavata_runbook.site import Repository


def apt_source(repository: Repository) -> str:
    """A file for /etc/apt/sources.list.d: one flat repository (sources.list(5))."""
    option = f"signed-by={repository.gpgkey}" if repository.gpgcheck else "trusted=yes"
    why = "packages are checked with this key" if repository.gpgcheck else \
        "packages carry no signature; those of a file:// repository came over SSH and were compared by SHA-256"
    return f"# {repository.id}: {repository.name}\n" + f"# gpgcheck={int(repository.gpgcheck)}: {why}\n" \
        f"deb [{option}] {repository.baseurl} ./\n"
