"""The list of what a site touches, as Markdown."""

from collections.abc import Callable, Iterable, Iterator

from airavata_runbook.run.touches import NEVER, REMOVED, WITH_DATA, WITHIN, Entry, Touches
from airavata_runbook.site import Site

MOMENTS = """\
## For a moment

Scripts keep what they need in files of `mktemp` in `/tmp`, and a step that sends one file to several hosts in a folder
`/run/airavata-runbook.*`, with a second sshd on the registry's port or 22022, 22023. They are gone when it ends, however it ends.
A backup and a restore have a folder `/var/lib/airavata-runbook-backup.*` and `-restore.*` on the master for as long.
"""
HERE = """\
## On the machine where you type

- the project's folder: `.venv`, and in `outputs/` the records of runs
- `~/.cache/airavata-runbook`: components, packages and images; it can be deleted at any time, and is filled again
- `~/.local/state/airavata-runbook`: kubeconfigs, and the site that is chosen in JupyterLab; of a lab also its hosts, which
  `lab down` removes with their bridge and cgroups
- Debian packages that `make` installs where they are missing, the first lines of `Makefile`
- `~/.ssh` is only read
"""


def text(site: Site) -> str:
    """The page of a site."""
    return "\n".join(_parts(Touches(site)))


def _parts(touches: Touches) -> Iterator[str]:
    hosts = ", ".join(f"{node.name} ({node.address})" for node in touches.site.nodes)
    yield f"""\
# What this runbook touches on your machines

Of the site {touches.site.name} with the hosts {hosts}. Generated:
`airavata-runbook touches SITE` prints the list of any site, and connects to no host for it. It is what the resources of all steps
say of themselves, and what is written beside them of the programs that they start. Tests compare it with what changed on running
hosts, and with what a reset left there. `*` stands for any name; a folder is meant with all that is in it.
"""
    yield "## Files and folders\n"
    yield _table(touches, ("file", "folder", "lines"), "path", _by_folder)
    yield "## Packages\n"
    yield _table(touches, ("package",), "package", _each)
    yield "Their files, none in the place of another package's:\n"
    yield _table(touches, ("packaged",), "path", _by_folder)
    yield "## Services, and ports that they open\n"
    yield _table(touches, ("unit", "port"), "unit or port", _each)
    yield "## Network\n"
    yield _table(touches, ("interface", "chain"), "interface, or chain of iptables", _each)
    yield (
        "The built-in chains get rules that send packets to these chains, and no others. Routes to pods lead through "
        "`cni0` and\n`flannel.1`.\n"
    )
    yield "## Kernel\n"
    yield _table(touches, ("setting", "module"), "setting (sysctl) or module", _each)
    yield "## While pods run\n"
    yield _table(touches, ("mount", "cgroup"), "mount or cgroup", _each)
    yield "## In the cluster, in etcd and in the registry\n"
    yield _table(touches, ("object", "key", "image"), "object of Kubernetes, key or user in etcd, image", _by_kind)
    yield "These are in `/var/lib/etcd` and in the registry's folder. What Kubernetes makes of itself is not listed.\n"
    yield MOMENTS
    yield HERE
    yield "## What it does not touch\n"
    yield (
        "".join(f"- {what}: {_code(paths)}\n" for what, paths in NEVER.items())
        + "- other packages, and other services with their files\n"
    )
    yield "## What a reset leaves\n"
    yield from _left(touches)


def _left(touches: Touches) -> Iterator[str]:
    kept: dict[str, list[str]] = {}
    for entry in touches.entries:
        after = touches.after_reset(entry.host, entry.touch)
        if after != REMOVED and entry.touch.kind not in WITHIN and entry.touch.name not in kept.setdefault(after, []):
            kept[after].append(entry.touch.name)
    yield f"Only with `--data` it removes {_code(kept.pop(WITH_DATA, []))}.\n"
    yield "In any case these stay:\n"
    yield "".join(f"- {how}: {_code(names)}\n" for how, names in kept.items()) + "- lines in the logs of others, as the journal\n"


def _table(touches: Touches, kinds: Iterable[str], title: str, rows: Callable[[Iterable[str]], Iterable[str]]) -> str:
    """Rows of names, hosts, who makes them, and what a reset does; names that differ in nothing else share a row."""
    hosts: dict[tuple[str, str, str, str, str], list[str]] = {}
    for entry in touches.entries:
        one = entry.touch
        if one.kind in kinds:
            after = touches.after_reset(entry.host, one)
            by = f"{entry.by}: lines of its own" if one.kind == "lines" else entry.by
            hosts.setdefault((one.kind, one.name, by, after, _only(entry)), []).append(entry.host)
    alike: dict[tuple[str, ...], list[str]] = {}
    for (kind, name, *how), places in hosts.items():
        alike.setdefault((kind, ", ".join(dict.fromkeys(places)), *how), []).append(name)
    everywhere = ", ".join(node.name for node in touches.site.nodes)
    lines = []
    for (_, where, by, after, only), names in alike.items():
        on = "every host" if where == everywhere else where
        lines += [f"| {cell}{only} | {on} | {by} | {after} |\n" for cell in rows(names)]
    head = f"| {title} | on | by | after a reset |\n|---|---|---|---|\n"
    return head + "".join(sorted(lines) if rows is _by_folder else lines)


def _only(entry: Entry) -> str:
    """Which hosts have it, in brackets; "" for all."""
    which = [f"{entry.packaging} hosts"] if entry.packaging else []
    which += [] if entry.everywhere else ["where the host has such"]
    return f" ({', '.join(which)})" if which else ""


def _each(names: Iterable[str]) -> Iterator[str]:
    yield _code(names)


def _by_folder(names: Iterable[str]) -> Iterator[str]:
    """Paths of one folder in one cell: `/etc/kubernetes/`: `config`, `kubelet`."""
    folders: dict[str, list[str]] = {}
    for name in names:
        head, _, tail = name.rpartition("/")
        folders.setdefault(head, []).append(tail)
    for head, tails in folders.items():
        yield f"`{head}/{tails[0]}`" if len(tails) == 1 else f"`{head}/`: {_code(sorted(tails))}"


def _by_kind(names: Iterable[str]) -> Iterator[str]:
    """Objects of one kind in one cell."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kind, separator, rest = name.partition(" ")
        kinds.setdefault(kind if separator else "", []).append(rest or name)
    for kind, alike in kinds.items():
        yield f"{kind} {_code(alike)}".strip()


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
