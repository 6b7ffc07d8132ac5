"""The record of a site on its master: the values that must not change while the site exists."""

from dataclasses import dataclass

from airavata_runbook.engine.resource import Change, Context, Found
from airavata_runbook.errors import StepFailed
from airavata_runbook.resources.file import File
from airavata_runbook.site import Site
from airavata_runbook.site.life import LOOK, RECORD, departures, parse_look, record


@dataclass(frozen=True)
class SiteRecord:
    """Written once and extended by new hosts; a site file that departs from it is refused before anything is changed."""

    site: Site

    @property
    def label(self) -> str:
        return f"record of the site {RECORD}"

    def probe(self) -> str:
        return LOOK

    def change(self, found: Found, context: Context) -> Change | None:
        living, recorded = parse_look(found.text)
        if recorded and (problems := departures(recorded, self.site, living)):
            raise StepFailed(
                "the site file changes what is fixed once a site exists",
                where=f"site {self.site.name}, {RECORD} on {context.host.name}",
                found="\n".join(map(str, problems)),
                remedy="nothing was changed; see the remedy of each field",
            )
        wanted = record(self.site)
        if recorded == wanted:
            return None
        file = File(RECORD, wanted)
        summary = "new content" if recorded else "create"
        return Change(summary, wanted, script=file.write_script(), shown=f"write {RECORD}", touches=frozenset({RECORD}))
