"""The resources of a reset: what must not exist. Each probes the host; no record of earlier runs is used."""

from collections.abc import Sequence
from dataclasses import dataclass

from airavata_runbook.distributions.deb import DEB
from airavata_runbook.distributions.packaging import Packaging
from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.errors import StepFailed
from airavata_runbook.footprint import Footprint, Touch
from airavata_runbook.resources import service


@dataclass(frozen=True)
class Stopped:
    """A systemd service that is neither running nor enabled. It is killed, with all its processes."""

    name: str

    @property
    def label(self) -> str:
        return f"service {self.name}"

    def footprint(self) -> Footprint:
        return service.enabled(self.name)

    def probe(self) -> str:
        return f"systemctl show -p LoadState,ActiveState,UnitFileState {quote(self.name)}.service"

    def change(self, found: Found, context: Context) -> Change | None:
        state, _ = service.parse(found.text, self.label)
        what = ["stop"] if state["ActiveState"] not in ("inactive", "failed") else []
        what += ["disable"] if state["UnitFileState"] == "enabled" else []
        if not what:
            return None
        kill = f"systemctl kill --signal=KILL {self.name}\n" if "stop" in what else ""
        return Change(", ".join(what), script=kill + "".join(f"systemctl {word} --quiet {self.name}\n" for word in what))


@dataclass(frozen=True)
class Removed:
    """Packages to purge, with the dependencies that were installed only for them; no other unused package is removed.

    A package that depends on them is removed if apt marks it as automatically installed; the admin's own never is.
    """

    names: Sequence[str]
    packaging: Packaging = DEB

    @property
    def label(self) -> str:
        return "packages " + " ".join(sorted(self.names))

    def footprint(self) -> Footprint:
        return [Touch("package", name) for name in self.names]

    def probe(self) -> str:
        return self.packaging.list_removed(sorted(self.names))

    def change(self, found: Found, context: Context) -> Change | None:
        if found.status:
            raise ValueError("the packages could not be listed")
        here = self.packaging.parse_installed(found.text)
        if theirs := [name for name, how in here.items() if how == "theirs"]:
            raise StepFailed(
                "other packages of the host depend on the packages that a reset removes",
                found=", ".join(theirs),
                needed="no manually installed package that depends on them",
                remedy=f"{self.packaging.remove_by_hand(theirs)}, or, if they may go with the "
                f"others, {self.packaging.mark_as_dependency(theirs)}; then reset again",
            )
        if not here:
            return None
        command = self.packaging.remove(list(here))
        detail = "".join(f"{name}{' (came along)' * (how != 'package')}\n" for name, how in here.items())
        return Change(
            f"remove {len(here)}",
            detail,
            shown=command.shown,
            script=f"{command.script}systemctl daemon-reload\nsystemctl reset-failed\n",
        )


@dataclass(frozen=True)
class Absent:
    """No such file or folder; `*` matches any text. A mount point is emptied and kept.

    parents: folders above it that are removed too when they are empty. Nothing is deleted while something is mounted below.
    """

    path: str
    parents: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        return f"no {self.path}"

    @property
    def _each(self) -> str:
        word = "*".join(quote(part) if part else "" for part in self.path.split("*"))
        return f'for path in {word}; do [ -e "$path" ] || [ -L "$path" ] || continue\n'

    def footprint(self) -> Footprint:
        return (Touch("folder", self.path),)

    def probe(self) -> str:
        empty = "".join(
            f"test -d {folder} && test -z \"$(ls -A {folder})\" && echo {folder} '(empty)'\n"
            for folder in map(quote, self.parents)
        )
        return (
            f'{self._each}if mountpoint -q "$path" && test -z "$(ls -A "$path")"; then continue; fi\n'
            f'test -d "$path" && echo "$path ($(find "$path" -xdev -mindepth 1 | wc -l) in it)" || echo "$path"\n'
            f"done\n{empty}true"
        )

    def change(self, found: Found, context: Context) -> Change | None:
        if not found.text.strip():
            return None
        remove = (
            self._each
            + """if awk '{print $2}' /proc/mounts | grep -qF "$path/"; then
    echo "something is still mounted below $path; it is not deleted" >&2; exit 1; fi
if mountpoint -q "$path"; then find "$path" -xdev -mindepth 1 -delete; else rm -rf --one-file-system "$path"; fi
done
"""
        )
        rmdir = "".join(
            f"test ! -d {folder} || rmdir --ignore-fail-on-non-empty {folder}\n" for folder in map(quote, self.parents)
        )
        return Change("remove", found.text, script=remove + rmdir, shown=f"rm -rf {self.path}")


@dataclass(frozen=True)
class Cleared:
    """No items of one kind. look: shell that prints a line for each; remove: shell that removes them; removes: what they are.

    only: an extended regular expression; other lines are ignored. It exists because `look` must fail when it cannot list the
    items: a pipe to `grep` would hide that, and `grep` fails when nothing matches.
    """

    what: str
    look: str
    remove: str
    removes: tuple[Touch, ...] = ()
    only: str = ""

    @property
    def label(self) -> str:
        return f"no {self.what}"

    def footprint(self) -> Footprint:
        return self.removes

    def probe(self) -> str:
        if not self.only:
            return self.look
        return f"seen=$({self.look}) || exit; printf '%s\\n' \"$seen\" | grep -E {quote(self.only)} || test $? = 1"

    def change(self, found: Found, context: Context) -> Change | None:
        if found.status:
            raise ValueError(f"exit status {found.status}")
        lines = found.text.splitlines()
        if not lines:
            return None
        return Change(f"remove {len(lines)}", "\n".join(lines) + "\n", script=self.remove)
