"""Packages or images that are built on this machine, because its cache lacks them, before they are sent to a host."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from airavata_runbook.engine.resource import Change, Context, Found
from airavata_runbook.footprint import Footprint
from airavata_runbook.local.terminal import about


@dataclass(frozen=True)
class Build:
    """kind: "packages" or "images". pending: what has to be built now, by name, each with the seconds that it takes on 2 cores;
    it is asked (with: are we planning?) before and after. build: builds all of it; it may raise CannotBuild. notes: lines for a
    person, why something is built.
    """

    kind: str
    pending: Callable[[bool], Mapping[str, float]]
    build: Callable[[], object]
    notes: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"{self.kind} on this machine"

    def footprint(self) -> Footprint:
        return ()

    def probe(self) -> str:
        return ""

    def change(self, found: Found, context: Context) -> Change | None:
        pending = self.pending(context.planning)
        if not pending:
            return None
        return Change(
            f"build, {about(sum(pending.values()))}",
            detail="".join(f"{line}\n" for line in (*(f"{name}, {about(one)}" for name, one in pending.items()), *self.notes)),
            call=self.build,
            shown="airavata-runbook mirror   # on this machine; the times are for 2 cores, without downloads",
            creates=True,
        )
