"""The record of a site on its master: the values that must not change while the site exists."""

from dataclasses import dataclass

from airavata_runbook.engine.resource import ApiResource, Change, Context, Found
from airavata_runbook.errors import StepFailed
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.resources.file import File
from airavata_runbook.site import Site
from airavata_runbook.site.life import (
    LOOK,
    RECORD,
    another_master,
    departures,
    kept_folders,
    parse_look,
    record,
    recorded_releases,
    unfinished_restore,
)


@dataclass(frozen=True)
class SiteRecord:
    """Written once and extended by new hosts; a site file that departs from it is refused before anything is changed.

    releases: the components whose official release the site has; None keeps those that are recorded.
    """

    site: Site
    releases: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        return f"record of the site {RECORD}"

    def footprint(self) -> Footprint:
        return (Touch("file", RECORD),)

    def probe(self) -> str:
        return LOOK

    def change(self, found: Found, context: Context) -> Change | None:
        recorded = _accepted(found.text, self.site)
        releases = recorded_releases(recorded) if self.releases is None else self.releases
        wanted = record(self.site, kept=kept_folders(recorded), releases=releases)
        if recorded == wanted:
            return None
        file = File(RECORD, wanted)
        summary = "new content" if recorded else "create"
        script, touches = file.write_script(), frozenset({RECORD})
        return Change(summary, wanted, script, shown=f"write {RECORD}", touches=touches, creates=not recorded)


@dataclass(frozen=True)
class SameSite(ApiResource):
    """Changes nothing: it fails on every host where the site file departs from the record on the master."""

    site: Site

    @property
    def label(self) -> str:
        return "fixed fields of the site file"

    def footprint(self) -> Footprint:
        return ()

    def ask(self, context: Context) -> str:
        return context.session.master.run(LOOK).text

    def change(self, found: Found, context: Context) -> Change | None:
        _accepted(found.answered(), self.site)
        return None


def _accepted(printed: str, site: Site) -> str:
    """The record that LOOK printed, "" where there is none. Raises StepFailed when the site file departs from it, and for
    a site that is not restored yet."""
    state, recorded = parse_look(printed)
    if unfinished := unfinished_restore(state, site):
        raise unfinished
    problems = departures(recorded, site, state != "not") if recorded else [another_master(state, site)]
    if found := [str(one) for one in problems if one]:
        raise StepFailed(
            "the site file changes what is fixed once a site exists",
            where=f"site {site.name}, {RECORD} on {site.master.name}",
            found="\n".join(found),
            remedy="nothing was changed; see the remedy of each field",
        )
    return recorded
