"""`airavata-runbook secret SITE [NAME]`: the passwords that the runbook has generated on a site's master."""

import re
import sys
from collections import defaultdict
from collections.abc import Mapping

from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import SiteError
from airavata_runbook.local.terminal import text_table
from airavata_runbook.site import Site
from airavata_runbook.site.fields import NAME
from airavata_runbook.site.messages import nearest
from airavata_runbook.site.stack_file import read, stack_folder
from airavata_runbook.wellknown import PULL_PASSWORD, PULL_USER, SECRETS

GENERATED = "generated:"
HEAD = ["name", "used for"]


def table(site: Site) -> str:
    """The names of the generated secrets that the site's master has, and what each is used for; no value.

    Raises HostUnreachable, StackError.
    """
    used = uses(site)
    rows = [[name, "; ".join(used.get(name, ["nothing in this site file"]))] for name in names(site)]
    return text_table([HEAD, *rows]) if rows else f"site {site.name}: nothing was generated yet; a run does that"


def reveal(site: Site, name: str, yes: bool = False) -> str:
    """The value of a generated secret, after the user agreed to see it; "" when not. yes: do not ask.

    Raises SiteError for an unknown name, and where there is no terminal to ask on; HostUnreachable.
    """
    if not yes and not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise SiteError(
            "a secret is shown on a terminal only, after a question",
            where=f"secret {name} of site {site.name}",
            needed="a terminal, or --yes for a pipe or file that nobody else can read",
        )
    known = names(site)
    if name not in known:
        raise SiteError(
            f"site {site.name} has no generated secret {name!r}",
            where=f"{SECRETS} on the master",
            needed=nearest(name, known) if known else "a run: it generates them",
        )
    if not yes and not _agreed(f"Show the secret {name} of site {site.name} on this terminal? [y/N] "):
        return ""
    return session_of(site).vault.secret(GENERATED + name)


def names(site: Site) -> list[str]:
    """Of the generated secrets that the master has."""
    listed = session_of(site).master.run(f"ls -1 {SECRETS} 2>/dev/null || :").text
    return sorted(line for line in listed.splitlines() if re.fullmatch(NAME, line))


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def uses(site: Site) -> Mapping[str, list[str]]:
    """Name of a generated secret → what the site uses it for."""
    found = defaultdict(list)

    def use(reference: str, what: str) -> None:
        if reference.startswith(GENERATED):
            found[reference.removeprefix(GENERATED)].append(what)

    use(site.registry.password, f"user {site.registry.user} of the registry, who pushes and pulls")
    use(PULL_PASSWORD, f"user {PULL_USER} of the registry, as whom hosts and pods pull")
    stack = read(stack_folder(site.airavata))
    for secret, keys in stack.secrets.items():
        for key, reference in keys.items():
            use(site.airavata.secrets.get(reference.partition(":")[2], reference), f"Secret {secret}, key {key}")
    for secret, stores in stack.keystores.items():
        for key, store in stores.items():
            if store.secret_key:
                use(GENERATED + store.secret_key, f"keystore {key} of Secret {secret}")
    return found
