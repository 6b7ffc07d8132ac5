"""Where the components of a site come from: what its record on the master says, or what is chosen now for a new one."""

import threading
from contextlib import suppress

from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.errors import NotYet, RunbookError, StepFailed
from airavata_runbook.mirror import choice
from airavata_runbook.site import Site
from airavata_runbook.site.life import LOOK, RECORD, parse_look, recorded_releases

_choosing = threading.Lock()


def releases_of(session: Session) -> tuple[str, ...]:
    """The components whose official release the site has, by the mirror's names; the others are builds.

    The master is asked only where the site file leaves it open. The choice for a new site is the same for all steps of this
    process; chapter 02 records it. A site that is there without a choice in its record has builds. Raises StepFailed for a
    damaged record, HostUnreachable.
    """
    site = session.site
    if not choice.left_open(site):
        return site.sources.releases
    try:
        return choice.keep(site, recorded_releases(session.vault.read(RECORD, "the site is recorded").decode()))
    except NotYet:
        with _choosing:
            if session.releases is None:
                state, _ = parse_look(session.master.run(LOOK).text)
                session.releases = choice.choose(site).releases if state == "not" else choice.keep(site, ())
            return session.releases
    except ValueError:
        raise StepFailed(
            "the record of the site is damaged", where=f"{RECORD} on {session.master.name}", remedy="restore it from a backup"
        ) from None


def choice_for(site: Site) -> choice.Choice:
    """As `releases_of` and with its notes, for `airavata-runbook mirror`: a lab need not be there yet, nor hosts answer."""
    if not site.lab and choice.left_open(site):
        with suppress(RunbookError):
            session = session_of(site)
            releases = releases_of(session)
            return choice.choose(site) if session.releases == releases else choice.Choice(releases)
    return choice.choose(site)
