"""All hosts of a site at once."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait

from airavata_runbook.hosts.host import Host, T
from airavata_runbook.site import Site

_hosts: dict[str, tuple[Site, dict[str, Host]]] = {}


def connect(site: Site) -> dict[str, Host]:
    """The hosts of a site by node name, connections kept for the life of this process, opened on first use."""
    known = _hosts.get(site.name)
    if known is None or known[0] != site:
        if known:
            disconnect(known[0])
        _hosts[site.name] = (site, {node.name: Host(site, node) for node in site.nodes})
    return _hosts[site.name][1]


def disconnect(site: Site) -> None:
    """Close all connections and forwards to the site's hosts."""
    _, hosts = _hosts.pop(site.name, (site, {}))
    for host in hosts.values():
        host.close()


def side_by_side(hosts: list[Host], work: Callable[[Host], T]) -> dict[str, T | Exception]:
    """`work(host)` for all hosts at once; a host's exception is its result, so that no other result is lost.

    Ctrl-C lets go of the hosts that are still at work; their result is then StoppedByUser.
    """

    def guarded(host: Host) -> T | Exception:
        try:
            return work(host)
        except Exception as error:  # given to the caller, who reports it for this host
            return error

    if not hosts:
        return {}
    with ThreadPoolExecutor(max_workers=min(32, len(hosts))) as pool:
        results = {host.name: pool.submit(guarded, host) for host in hosts}
        try:
            wait(results.values())
        except KeyboardInterrupt:
            try:
                for host in hosts:
                    host.stop()
                wait(results.values())
            finally:  # a second Ctrl-C as well leaves hosts that the next step can use
                for host in hosts:
                    host.resume()
    return {name: result.result() for name, result in results.items()}
