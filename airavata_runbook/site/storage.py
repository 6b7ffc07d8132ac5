"""The folders of a site's databases, as they are on the host that has them: whether they may be used.

A database whose folder is empty begins anew without a word, and two servers on one folder destroy it.
"""

import os
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from airavata_runbook.kernel_env import RESTORE
from airavata_runbook.site.site import Site
from airavata_runbook.site.stack_file import parts_of, runs, storage_folders

STORED = "/etc/airavata-runbook/storage"  # on the storage node: the folders that databases have run with
# Shell that prints those of them that exist, also of a database that the site's stack has no more.
STORED_FOLDERS = f'grep -s ^/ {STORED} | while read -r path; do test ! -d "$path" || echo "$path"; done'


class Problem(NamedTuple):
    """What keeps the databases from running with a folder."""

    found: str
    needed: str
    remedy: str


class Storage(NamedTuple):
    """stored: the folders that are in STORED. state: folder → data, empty or absent. users: (folder, namespace, pod)."""

    stored: frozenset[str]
    state: dict[str, str]
    users: tuple[tuple[str, str, str], ...]


def folders(site: Site) -> dict[str, int]:
    """Folder on the storage node → the user id that owns it, of all components of the site's stack that store data.

    Raises StackError.
    """
    return storage_folders([part for part in parts_of(site.airavata) if runs(part, site.airavata)], site.airavata)


def stored_text(paths: Iterable[str]) -> str:
    """The content of STORED with these folders."""
    lines = [
        "# Databases have run with these folders. If one is lost, the runbook does not start its database with an empty one."
    ]
    return "\n".join([*lines, *sorted(set(paths))]) + "\n"


def look(paths: Sequence[str]) -> str:
    """Shell that prints the state of folders and which pods use them; `parse` reads it.

    A pod uses a folder if it is mounted in one of its processes: compared by device and inode, however it is named there.
    In the host's own processes it is mounted too, by the kubelet, as each local volume of a pod is.
    The name of the pod's log folder has its namespace (kubelet, BuildPodLogsDirectory).
    """
    words = shlex.join(paths)
    return f"""sed -n 's|^/|stored /|p' {STORED} 2>/dev/null
mounts=$(grep -lsE 'pod[0-9a-f]{{8}}[-_]' /proc/[0-9]*/cgroup | sed 's|cgroup$|mountinfo|')
for folder in {words}; do
    if ! test -d "$folder"; then echo "absent $folder"; continue; fi
    if test -n "$(ls -A "$folder" | grep -vx lost+found)"; then echo "data $folder"; else echo "empty $folder"; fi
    here=$(stat -Lc %d:%i "$folder")
    grep -sE " [^ ]*/${{folder##*/}} /[^ ]* " $mounts /dev/null | while read -r first _ _ _ mount _; do
        pid=${{first#/proc/}}; pid=${{pid%%/*}}
        test "$(stat -Lc %d:%i "/proc/$pid/root$mount" 2>/dev/null)" = "$here" || continue
        uid=$(sed -nE 's|.*/(kubepods[^/]*-)?pod([0-9a-f]{{8}}[0-9a-f_-]{{28}}).*|\\2|p' /proc/$pid/cgroup | head -n 1 | tr _ -)
        pod=$(cd /var/log/pods 2>/dev/null && ls -d *_"$uid" 2>/dev/null) && test -n "$uid" && echo "user ${{pod%_*}} $folder"
    done | sort -u
done; true"""


def parse(printed: str) -> Storage:
    """What `look` printed. Raises ValueError."""
    stored, state, users = set(), {}, []
    for line in printed.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "stored":
            stored.add(rest)
        elif kind in ("data", "empty", "absent"):
            state[rest] = kind
        elif kind == "user":
            pod, _, folder = rest.partition(" ")
            namespace, _, name = pod.partition("_")
            users.append((folder, namespace, name))
        else:
            raise ValueError("not the state of a folder")
    return Storage(frozenset(stored), state, tuple(users))


def problems(site: Site, host: str, seen: Storage) -> Iterator[Problem]:
    """Why the site's databases must not start with their folders. host: the name of the storage node.

    In a restore they may start empty, those that it says (kernel_env.RESTORE).
    """
    restored = os.environ.get(RESTORE, "").split()
    for folder, state in seen.state.items():
        if folder in seen.stored and state != "data" and folder not in restored:
            yield Problem(
                f"{folder} on {host} is {state}, and a database has run with it ({STORED}): it would start empty",
                "the folder with its data",
                f"mount its disk; or, with a backup: airavata-runbook reset {site.name} --data, then restore; "
                f"to begin with an empty database: delete the line {folder} in {STORED}",
            )
    for namespace in sorted({namespace for _, namespace, _ in seen.users} - {site.airavata.namespace}):
        used = ", ".join(f"{folder} by {pod}" for folder, other, pod in seen.users if other == namespace)
        yield Problem(
            f"on {host} pods of the namespace {namespace} use {used}: two servers on one folder destroy its data",
            "folders that nothing else uses",
            f"set airavata.namespace back to {namespace}, set another airavata.storage_path, or, if that one is not needed any "
            f"more: kubectl delete namespace {namespace}",
        )
