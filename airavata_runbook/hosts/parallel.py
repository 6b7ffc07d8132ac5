"""The same work on several hosts at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

from airavata_runbook.hosts.host import Host
from airavata_runbook.local.screen import carried

T = TypeVar("T")
THREADS = 32  # hosts at a time


def run_parallel(hosts: Iterable[Host], work: Callable[[Host], T]) -> dict[str, T | Exception]:
    """Host name → `work(host)`, or the exception that it raised there; on all hosts at once.

    Ctrl-C interrupts the hosts that are still working; their result is then StoppedByUser.
    """
    hosts = list(hosts)

    def guarded(host: Host) -> T | Exception:
        try:
            return work(host)
        except Exception as error:  # returned to the caller, which reports it for this host
            return error

    with ThreadPoolExecutor(THREADS) as threads:  # it starts no more of them than there are hosts
        results = {host.name: threads.submit(carried(guarded), host) for host in hosts}
        try:
            wait(results.values())
        except KeyboardInterrupt:
            try:
                for host in hosts:
                    host.stop()
                wait(results.values())
            finally:  # also after a second Ctrl-C: the next step uses the hosts
                for host in hosts:
                    host.resume()
    return {name: result.result() for name, result in results.items()}
