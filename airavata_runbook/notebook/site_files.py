"""The site files to choose from, and whether their hosts answer."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from airavata_runbook.errors import SiteError, counted
from airavata_runbook.hosts.answers import why_silent
from airavata_runbook.site import Site

HOSTS = 32  # that are asked at a time
Tell = Callable[[str, str], None]  # (the hosts, whether they answer)


def site_files(project: Path) -> list[Path]:
    """Those in the project's parameters/, by name."""
    return sorted((project / "parameters").glob("*.yaml"), key=lambda path: path.stem)


def look(path: Path, tell: Tell) -> None:
    """Read a site file and ask its hosts; `tell` what is known, as soon as it is."""
    try:
        site = Site.load(path)
    except SiteError as error:
        return tell("", f"not valid: {error.message.splitlines()[0]}")
    hosts = ", ".join(f"{node.name} {node.address}" for node in site.nodes)
    hosts = hosts if site.name == path.stem else f"site {site.name}: {hosts}"
    tell(hosts, "asking …")
    with ThreadPoolExecutor(HOSTS) as threads:
        silent: dict[str, list[str]] = {}  # why → hosts
        for node, why in zip(site.nodes, threads.map(why_silent, site.nodes), strict=True):
            silent.setdefault(why, []).append(node.name)
    answering, total = len(silent.pop("", [])), len(site.nodes)
    if silent:
        reasons = "; ".join(f"{', '.join(names)}: {why}" for why, names in silent.items())
        return tell(hosts, f"{answering} of {counted(total, 'host')} answer ({reasons})")
    tell(hosts, "all hosts answer" if total > 1 else "the host answers")
