"""What should not be there any more: the resources of a reset. Each looks at the host, never at a record of what was done."""

from collections.abc import Sequence
from dataclasses import dataclass

from airavata_runbook.errors import StepFailed
from airavata_runbook.resources.base import Change, Context, Found, quote
from airavata_runbook.resources.package import APT_GET, parse_installed, to_its_end


@dataclass(frozen=True)
class Stopped:
    """A systemd service that neither runs nor starts with the host. It is ended at once, with every process of its own."""

    name: str

    @property
    def label(self) -> str:
        return f"service {self.name}"

    def probe(self) -> str:
        return f"systemctl show -p LoadState,ActiveState,UnitFileState {quote(self.name)}.service"

    def change(self, found: Found, context: Context) -> Change | None:
        state = dict(line.split("=", 1) for line in found.text.splitlines() if "=" in line)
        if not {"ActiveState", "UnitFileState"} <= set(state):
            raise StepFailed("systemd did not say how the service is", where=self.label, found=found.text[:200] or "nothing")
        what = ["stop"] if state["ActiveState"] not in ("inactive", "failed") else []
        what += ["disable"] if state.get("UnitFileState") == "enabled" else []
        if not what:
            return None
        kill = f"systemctl kill --signal=KILL {self.name}\n" if "stop" in what else ""
        return Change(", ".join(what), script=kill + "".join(f"systemctl {word} --quiet {self.name}\n" for word in what))


@dataclass(frozen=True)
class Removed:
    """Packages, with their configuration and with what came along for them alone; nothing else that is unused goes."""

    names: Sequence[str]

    @property
    def label(self) -> str:
        return "packages " + " ".join(sorted(self.names))

    def probe(self) -> str:
        names = quote(*sorted(self.names))
        # Unused before and unused afterwards: the difference came along with these packages.
        unused = "LC_ALL=C apt-get -s autoremove 2>/dev/null | awk '$1 == \"Remv\" {print $2}'"
        return f"""if command -v apt-get >/dev/null; then echo deb
here=$(dpkg-query -W -f='${{db:Status-Abbrev}} ${{Package}}\\n' {names} 2>/dev/null | awk '$1 != "un" {{print $2}}')
test -n "$here" || exit 0
for name in $here; do echo "ii $name package"; done
before=" $({unused} | tr '\\n' ' ') "
LC_ALL=C apt-get -s --auto-remove purge $here | awk '$1 == "Purg" || $1 == "Remv" {{print $2}}' | sort -u | while read -r name; do
    case " $(echo $here) $before" in *" $name "*) ;; *) echo "ii $name came-along" ;; esac
done
else echo rpm; rpm -q --qf 'ii %{{NAME}} package\\n' {names} 2>/dev/null | grep '^ii'; true; fi"""

    def change(self, found: Found, context: Context) -> Change | None:
        manager, here = parse_installed(found.text)
        if not here:
            return None
        names = quote(*here)
        remove = f"{APT_GET} purge {names}" if manager == "deb" else f"dnf -y -q remove {names}"
        detail = "".join(f"{name}{' (came along)' * (how != 'package')}\n" for name, how in here.items())
        return Change(f"remove {len(here)}", detail, shown=remove,
                      script=f"{to_its_end(remove)}systemctl daemon-reload\nsystemctl reset-failed\n")


@dataclass(frozen=True)
class Absent:
    """No such file or folder; `*` stands for any text. A mount point is emptied and stays.

    parents: folders above it that go too when nothing is left in them. What is mounted below is never deleted.
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

    def probe(self) -> str:
        empty = "".join(f"test -d {folder} && test -z \"$(ls -A {folder})\" && echo {folder} '(empty)'\n"
                        for folder in map(quote, self.parents))
        return (f"{self._each}if mountpoint -q \"$path\" && test -z \"$(ls -A \"$path\")\"; then continue; fi\n"
                f"test -d \"$path\" && echo \"$path ($(find \"$path\" -xdev -mindepth 1 | wc -l) in it)\" || echo \"$path\"\n"
                f"done\n{empty}true")

    def change(self, found: Found, context: Context) -> Change | None:
        if not found.text.strip():
            return None
        remove = self._each + """if awk '{print $2}' /proc/mounts | grep -qF "$path/"; then
    echo "something is still mounted below $path; it is not deleted" >&2; exit 1; fi
if mountpoint -q "$path"; then find "$path" -xdev -mindepth 1 -delete; else rm -rf --one-file-system "$path"; fi
done
"""
        rmdir = "".join(f"test ! -d {folder} || rmdir --ignore-fail-on-non-empty {folder}\n"
                        for folder in map(quote, self.parents))
        return Change("remove", found.text, script=remove + rmdir, shown=f"rm -rf {self.path}")


@dataclass(frozen=True)
class Cleared:
    """Things of one kind that are not there any more. look: shell that prints a line for each; remove: takes them away."""

    what: str
    look: str
    remove: str

    @property
    def label(self) -> str:
        return f"no {self.what}"

    def probe(self) -> str:
        return self.look

    def change(self, found: Found, context: Context) -> Change | None:
        lines = found.text.splitlines()
        if not lines:
            return None
        return Change(f"remove {len(lines)}", "\n".join(lines) + "\n", script=self.remove)
