"""What a person who watches a site needs beside its steps: look anew, see who works on it, stop what goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.site import Site


def look_anew(site: Site) -> dict[str, str]:
    """Begin to look at a site from its first step. Returns the hosts that do not answer, each with the reason.

    What earlier plans of this process would have changed is forgotten: somebody else may have changed it since.
    """
    session = session_of(site)
    session.planned.clear()
    session.facts.clear()
    answers = run_parallel(session.hosts.values(), lambda host: host.run("true"))
    return {name: str(answer) for name, answer in answers.items() if isinstance(answer, Exception)}


def holder(site: Site) -> str:
    """Who works on the site now, as its lock says; "" when nobody does, or it cannot be asked."""
    try:
        return session_of(site).lock.holder()
    except HostUnreachable:
        return ""


def note(site: Site, outcome: str) -> None:
    """What the steps within `stoppable` came to, for the site's journal."""
    session_of(site).lock.note(outcome)


@contextmanager
def stoppable(site: Site, purpose: str) -> Iterator[Callable[[], None]]:
    """The site's lock for several steps in the calling thread. Yields a function for another thread that interrupts them: the
    step that runs reports how far each host got. After the block the hosts accept commands again. Raises as SiteLock.held.
    """
    session = session_of(site)
    try:
        with session.lock.held(purpose):
            yield session.stop
    finally:
        session.resume()
