"""Which components come from their official releases, where the site file leaves it open: chosen once, when a site is made."""

import threading
import time
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from airavata_runbook.errors import RunbookError
from airavata_runbook.images import download
from airavata_runbook.mirror import build, released
from airavata_runbook.mirror.components import BY_NAME
from airavata_runbook.mirror.releases import RELEASES, download_url, is_locked, urls
from airavata_runbook.site import Site

SECONDS = 3.0  # in which a release host has to answer


@dataclass(frozen=True)
class Choice:
    """releases: the components whose official release is taken, sorted. notes: why others are built, for a person."""

    releases: tuple[str, ...]
    notes: tuple[str, ...] = ()


def choose(site: Site, probe: bool = True) -> Choice:
    """What a site that does not exist yet gets: releases, whose sha256 have to be known; the file's word counts before.

    In a lab what the cache has is taken again, and a release only where its host answers (probe: ask it); else a build.
    """
    left = left_open(site)
    known = [name for name in left if is_locked(BY_NAME[name])]
    notes = [f"no sha256 of their releases is known, so that they are built: {_listed(set(left) - set(known))}"]
    if not site.lab:
        return Choice(_sorted(site, known), tuple(notes[: len(known) < len(left)]))
    taken = [name for name in known if not build.folder(BY_NAME[name]).is_dir()]
    absent = [name for name in taken if not released.folder(BY_NAME[name]).is_dir()]
    silent = _silent(absent) if probe else set(absent)
    builds = {name for name in left if name not in taken and not build.folder(BY_NAME[name]).is_dir()}
    notes = notes[: bool(builds)]
    if silent and probe:
        hosts = " and ".join(sorted({_host(name) for name in silent}))
        notes.append(f"{hosts} did not answer within {SECONDS:.0f} s, so that they are built: {_listed(silent)}")
    return Choice(_sorted(site, set(taken) - silent), tuple(notes))


def keep(site: Site, recorded: Collection[str]) -> tuple[str, ...]:
    """The releases of a site that exists. recorded: those that it has; one whose sha256 is not known any more is built."""
    return _sorted(site, [name for name in left_open(site) if name in recorded and is_locked(BY_NAME[name])])


def left_open(site: Site) -> list[str]:
    """The components whose source the site file does not say, and which the mirror brings."""
    return [name for name in RELEASES if site.sources.of(name) is None and (site.repository.folder or name == "coredns")]


def _sorted(site: Site, names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({*names, *site.sources.releases}))


def _silent(names: Iterable[str]) -> set[str]:
    """Those of the components whose release host does not answer in time; all hosts are asked at once."""
    answered: set[str] = set()
    hosts = {_host(name): _first(name) for name in names}

    def ask(host: str, url: str) -> None:
        try:
            download.check(url, timeout=(SECONDS, SECONDS))
            answered.add(host)
        except RunbookError:
            pass

    # Daemons: a name server that does not answer would keep others, and the end of this process, waiting.
    threads = [threading.Thread(target=ask, args=one, daemon=True) for one in hosts.items()]
    for thread in threads:
        thread.start()
    end = time.monotonic() + SECONDS
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    there = frozenset(answered)
    return {name for name in names if _host(name) not in there}


def _first(name: str) -> str:
    return download_url(sorted(urls(BY_NAME[name]).values())[0])


def _host(name: str) -> str:
    return urlsplit(_first(name)).netloc.rpartition("@")[2]


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"{name} {BY_NAME[name].version}" for name in sorted(names))
