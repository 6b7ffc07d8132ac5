"""Folders copied with everything that they have, on one host or from one host to another, and compared afterwards.

Nothing is limited in time, as databases have any size: a copy ends when it is complete, fails, or its connection is lost.
Between two hosts the data goes through this machine, which keeps nothing of it.
"""

import shlex
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.frame import Result, last_lines
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.ssh_library import paramiko

T = TypeVar("T")
BLOCK = 1 << 18  # bytes at a time
FOREVER = 10.0**7  # seconds without any output
WATCH = 5  # seconds between two looks at how far a copy is
# With times to the nanosecond, holes in files, access control lists and extended attributes.
TAR = "tar --format=posix --sparse --numeric-owner --acls --xattrs --xattrs-include='*'"


@dataclass(frozen=True)
class Place:
    """Folders on a host: parent/name for each of names, which are plain words."""

    host: Host
    parent: str
    names: tuple[str, ...]

    @property
    def folders(self) -> list[str]:
        return [f"{self.parent}/{name}" for name in self.names]

    def __str__(self) -> str:
        return f"{self.parent} on {self.host.name}"


def size(place: Place) -> int:
    """The bytes that the folders take on their disk. Raises StepFailed."""
    return sum(int(line.split()[0]) for line in _checked(place, f"du -sDB1 {' '.join(place.folders)}").splitlines())


def free(place: Place) -> int:
    """The bytes that are free where the folders are, or will be. Raises StepFailed."""
    script = f"at={place.parent}; until test -e $at; do at=$(dirname $at); done; df -B1 --output=avail $at | tail -n 1"
    return int(_checked(place, script))


def empty(place: Place) -> None:
    """Delete what is in the folders, which need not exist; they stay, as they may be mounted. Raises StepFailed."""
    for folder in place.folders:
        _checked(place, f"test ! -d {folder} || find {folder}/ -xdev -mindepth 1 -delete")


def copy(source: Place, target: Place, progress: Callable[[int], None]) -> None:
    """Copy the content of folders into those of the same names, which must be empty. progress: called with the bytes copied.

    Raises StepFailed and HostUnreachable; what was copied by then stays.
    """
    _checked(target, f"mkdir -p {' '.join(target.folders)}")
    work = _copy_there if source.host is target.host else _stream
    _watched(lambda: work(source, target), [source.host, target.host], lambda: progress(size_so_far(target)))


def differences(source: Place, target: Place, progress: Callable[[], None]) -> list[str]:
    """Lines of what differs between two copies: kind, mode, owner and SHA-256 of every file. Raises StepFailed."""

    def listings() -> list[set[str]]:
        with ThreadPoolExecutor(2) as both:
            return list(both.map(_listing, (source, target)))

    before, after = _watched(listings, [source.host, target.host], progress)
    if not before:
        raise StepFailed("there is nothing in the folders", where=str(source), needed="the data of the databases")
    return sorted(before ^ after)


def size_so_far(place: Place) -> int:
    """As `size`, of folders that change meanwhile."""
    lines = place.host.run(f"du -sB1 {' '.join(place.folders)} 2>/dev/null").text.splitlines()
    return sum(int(line.split()[0]) for line in lines)


def _copy_there(source: Place, target: Place) -> None:
    pairs = zip(source.folders, target.folders, strict=True)
    script = " && ".join(f"cp -a --reflink=auto --sparse=auto {old}/. {new}/" for old, new in pairs)
    _raise_unless(_run_long(target.host, f"{script} && sync"), target)


def _listing(place: Place) -> set[str]:
    names = " ".join(f"{name}/." for name in place.names)
    script = (
        f"cd {place.parent} && find {names} ! -type s -printf '%p: %y %m %U:%G %l\\n' && "
        f"find {names} -type f -print0 | xargs -0r sha256sum"
    )
    result = _run_long(place.host, script)
    _raise_unless(result, place)
    return set(result.stdout.decode(errors="surrogateescape").splitlines())


def _run_long(host: Host, script: str) -> Result:
    """Run a script that may take hours and print nothing. It ends with the connection."""
    return host.run(
        f"""trap '' PIPE
setsid sh -c {shlex.quote(script)} & work=$!
while kill -0 $work 2>/dev/null; do sleep 0.5; echo >&2 || {{ kill -- -$work; exit 1; }}; done
wait $work""",
        timeout=FOREVER,
    )


def _stream(source: Place, target: Place) -> None:
    """Send the folders by tar from one host to another."""
    names = " ".join(f"{name}/." for name in source.names)
    # What tar complains about is not in the stream; the comparison finds what it could not read.
    sender = source.host.start(f"exec {TAR} -c -C {source.parent} {names} 2>/dev/null")
    receiver = target.host.start(f"{TAR} -x -p --same-owner -C {target.parent}; echo status $?; sync")
    with sender, receiver:
        sender.settimeout(None)
        receiver.settimeout(None)
        said: list[bytes] = []
        reader = threading.Thread(target=lambda: said.append(_read(receiver)), daemon=True)
        reader.start()
        with suppress(OSError):  # the receiver ended: what it said tells why
            while block := sender.recv(BLOCK):
                receiver.sendall(block)
            receiver.shutdown_write()
        reader.join()
    if not said or not said[0].endswith(b"status 0\n"):
        raise StepFailed(
            "the folders could not be copied",
            where=f"{source} to {target}",
            found=last_lines(said[0]) if said and said[0] else "the connection ended",
        )


def _read(channel: paramiko.Channel) -> bytes:
    """All that a script prints, to its end; what came by then when the connection is lost."""
    said = bytearray()
    with suppress(OSError):
        while chunk := channel.recv(BLOCK):
            said += chunk
    return bytes(said)


def _watched(work: Callable[[], T], hosts: Sequence[Host], watch: Callable[[], None]) -> T:
    """The result of work, with `watch` called every few seconds meanwhile. Ctrl-C interrupts the hosts."""
    with ThreadPoolExecutor(1) as thread:
        done = thread.submit(work)
        try:
            while wait([done], timeout=WATCH).not_done:
                watch()
        except BaseException:
            for host in hosts:
                host.stop()
            wait([done])
            for host in hosts:
                host.resume()
            raise
        return done.result()


def _checked(place: Place, script: str) -> str:
    result = place.host.run(script, timeout=FOREVER)
    _raise_unless(result, place)
    return result.text


def _raise_unless(result: Result, place: Place) -> None:
    if result.status:
        raise StepFailed("a command on the databases' folders failed", where=str(place), found=result.last_lines)
