"""What changed on hosts, compared with the list of what a site touches there (airavata_runbook/run/touches.py)."""

import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from airavata_runbook.footprint import Touch
from airavata_runbook.run.touches import PATHS, Touches, covers
from tests.full_picture import Picture, difference

LOCAL = re.compile(r"tcp 127\.0\.0\.1:(3[2-9]|[45]\d|6[0-5])\d{3}")  # a port that the kernel has chosen
# A mount point that a reset has emptied (docs/reset.md), and a unit that another one only names: it is not there.
NOTHING = re.compile(r"files: /var/lib/(containerd|kubelet): d 755 .*→ d 700 |running: \S+: absent → not-found inactive")


SELDOM = ("an upgrade", "a pod with a port of its host", "an exercise, while it is open")  # who makes it, and not in every site


class Paths:
    """Paths of the list: is a path one of them, in a folder of them, or a folder above one?"""

    def __init__(self, touches: Iterable[Touch]):
        listed = [touch for touch in touches if touch.kind in PATHS and touch.kind != "mount"]
        self.globs = [touch for touch in listed if "*" in touch.name]
        self.names = {touch.name for touch in listed}
        self.folders = {touch.name for touch in listed if touch.kind == "folder"}
        self.above = {str(folder) for name in self.names for folder in PurePosixPath(name).parents}

    def __contains__(self, path: str) -> bool:
        return (
            path in self.names
            or path in self.above
            or any(str(folder) in self.folders for folder in PurePosixPath(path).parents)
            or any(covers(touch, "file", path) for touch in self.globs)
        )


def _named(kind: str) -> Callable[[Touch, str], bool]:
    return lambda touch, what: covers(touch, kind, what.split()[0])


def _is_port(touch: Touch, what: str) -> bool:
    protocol, _, address = what.partition(" ")
    same = touch.name == f"{address.rpartition(':')[2]}/{protocol}"
    return touch.kind == "port" and (same or touch.name.startswith("127.0.0.1") and bool(LOCAL.match(what)))


def _is_rule(touch: Touch, what: str) -> bool:
    return touch.kind == "chain" and bool(re.search(rf"[ :]{touch.name.rstrip('*')}", what))


def _is_route(touch: Touch, what: str) -> bool:
    device = re.search(r"\bdev (\S+)", what)
    return bool(device) and covers(touch, "interface", device[1])


def _is_setting(touch: Touch, what: str) -> bool:
    """A setting by its name, or of an interface."""
    own = re.search(r"\.(?:conf|neigh)\.(\S+)\.\w+$", what)
    named = touch.kind == "setting" and fnmatchcase(what, touch.name.partition(" = ")[0])
    return named or bool(own) and covers(touch, "interface", own[1].replace("/", "."))


# Section of a picture → whether a touch is what changed there.
SECTIONS: Mapping[str, Callable[[Touch, str], bool]] = {
    "packages": _named("package"),
    "marked": _named("package"),
    "units": _named("unit"),
    "running": _named("unit"),
    "started": _named("unit"),
    "interfaces": _named("interface"),
    "routes": _is_route,
    "firewall": _is_rule,
    "kernel": _is_setting,
    "mounts": _named("mount"),
    "listening": _is_port,
    "cgroups": lambda touch, what: touch.kind == "cgroup" and f"/{touch.name}" in what,
}


def unlisted(
    touches: Touches,
    before: Mapping[str, Picture],
    after: Mapping[str, Picture],
    among: Callable[[str, Touch], bool] = lambda host, touch: True,
) -> list[str]:
    """What differs between two pictures of the hosts and is not in the list. among: which of its entries count, by host."""
    found = []
    for host in before:
        listed = [touch for touch in touches.on(host) if among(host, touch)]
        paths = Paths(listed)
        for line in difference(before[host], after[host]):
            section, _, rest = line.partition(": ")
            what = rest.rpartition(" → ")[0].rpartition(": ")[0]
            known = what in paths if section not in SECTIONS else any(SECTIONS[section](touch, what) for touch in listed)
            if not known and not NOTHING.match(line):
                found.append(f"{host}: {line}")
    return found


def not_there(touches: Touches, after: Mapping[str, Picture]) -> list[str]:
    """What is in the list and not on the host, of what every run makes."""
    section = dict.fromkeys(("file", "folder", "lines", "packaged"), "files")
    section |= {"package": "packages", "unit": "units", "interface": "interfaces", "chain": "firewall"}
    found = []
    for entry in touches.entries:
        touch, picture = entry.touch, after[entry.host]
        packaging = "deb" if "/usr/bin/dpkg-query" in picture["files"] else "rpm"
        # What a package needs may have come with the host, by another name; and so may the records of its package manager.
        hosts_own = touch.kind in ("package", "folder") and touch.stays
        made = entry.by not in SELDOM and entry.everywhere and not hosts_own
        if touch.kind in section and made and entry.packaging in ("", packaging):
            here, is_it = picture[section[touch.kind]], _is_rule if touch.kind == "chain" else _named(touch.kind)
            if touch.name not in here and not any(is_it(touch, what) for what in here):
                found.append(f"{entry.host}: {touch.kind} {touch.name}")
    return found
