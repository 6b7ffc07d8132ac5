"""The folders of the databases on the storage node: whether they may be used, and a note that they have been."""

from dataclasses import dataclass

from airavata_runbook.engine.resource import ApiResource, Change, Context, Found, quote
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.frame import Result
from airavata_runbook.resources.file import File, text_diff
from airavata_runbook.site import Site
from airavata_runbook.site.storage import STORED, folders, look, parse, problems, stored_text


@dataclass(frozen=True)
class StorageUsable:
    """Changes nothing: it fails where a database would start with an empty folder, or with one that is in use."""

    site: Site
    label = "data of the databases"

    def probe(self) -> str:
        return look(list(folders(self.site)))

    def change(self, found: Found, context: Context) -> Change | None:
        if wrong := list(problems(self.site, context.host.name, parse(found.text))):
            raise StepFailed(
                "the databases must not start with their folders",
                where=f"host {context.host.name}, {self.site.airavata.storage_path}",
                found="; ".join(one.found for one in wrong),
                needed="; ".join(dict.fromkeys(one.needed for one in wrong)),
                remedy="; ".join(dict.fromkeys(one.remedy for one in wrong)),
            )
        return None


@dataclass(frozen=True)
class StorageRecord(ApiResource):
    """STORED on the storage node, written by a step of the master once the databases run."""

    site: Site

    @property
    def label(self) -> str:
        return f"file {STORED} on {self.site.storage_node.name}"

    def ask(self, context: Context) -> bytes:
        host = context.session.hosts[self.site.storage_node.name]
        return host.run(f"cat {quote(STORED)} 2>/dev/null; true").stdout

    def change(self, found: Found, context: Context) -> Change | None:
        old, wanted = found.answered(), stored_text(self.site)
        if old == wanted.encode():
            return None
        host = context.session.hosts[self.site.storage_node.name]
        return Change(
            "new content" if old else "create",
            text_diff(old or None, wanted.encode(), STORED),
            call=lambda: self._write(host.run(File(STORED, wanted).write_script())),
            shown=f"write {STORED}   # on {host.name}",
        )

    def _write(self, result: Result) -> None:
        if result.status:
            raise StepFailed("a file could not be written", where=self.label, found=result.last_lines)
