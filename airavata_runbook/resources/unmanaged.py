"""The pods' interfaces are left alone by a network manager of the host, as a file tells it."""

from dataclasses import dataclass

from airavata_runbook.configs.unmanaged import MANAGERS
from airavata_runbook.engine.resource import Change, Context, Found
from airavata_runbook.footprint import Footprint


@dataclass(frozen=True)
class Unmanaged:
    """name: of the manager. It reads its files again after a change of the one before this resource, or where it manages an
    interface of pods: then it was not told, or a run was interrupted before.
    """

    name: str

    @property
    def label(self) -> str:
        return f"interfaces of pods: none managed by {self.name}"

    def footprint(self) -> Footprint:
        return ()  # the interfaces, which their makers have in the list

    def probe(self) -> str:
        return MANAGERS[self.name].managed

    def change(self, found: Found, context: Context) -> Change | None:
        if found.status:
            raise ValueError(f"exit status {found.status}")
        manager, managed = MANAGERS[self.name], found.text.split()
        if not managed and manager.path not in context.touched:
            return None
        detail = "".join(f"{name} is managed\n" for name in managed)
        # A manager gives up an interface a moment after it was told.
        wait = f'for try in $(seq 20); do test -n "$({manager.managed})" || break; sleep 0.2; done\n'
        script = shown = manager.reload
        if manager.release and managed:
            script = f'{script}\n{wait}test -z "$({manager.managed})" || {manager.release}'
            shown = f"{shown}   # or, where it keeps one, {manager.release}"
        return Change("reload its configuration", detail, script=f"{script}\n{wait}", shown=shown)
