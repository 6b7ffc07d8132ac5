"""Session: everything that this process has open towards one site."""

import threading
from collections.abc import Mapping

from airavata_runbook import stacks
from airavata_runbook.cluster.kube import Kube
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.lock import SiteLock
from airavata_runbook.hosts.snapshot import HostSnapshot
from airavata_runbook.hosts.vault import Vault
from airavata_runbook.site import Site
from airavata_runbook.wellknown import API_PORT, CLUSTER_CA, PKI

_open: list["Session"] = []
_opening = threading.Lock()


def session_of(site: Site) -> "Session":
    """The session behind a site: the one that is open in this process, else a new one.

    One that is open for an earlier content of the same site is closed.
    """
    with _opening:
        for session in _open:
            if session.site == site:
                return session
        outdated = [session for session in _open if session.site.name == site.name]
        session = Session(site)
        _open.append(session)
    for one in outdated:
        one.close()
    return session


class Session:
    """hosts: by name; connected at their first use. facts: host → as last gathered. planned: host → the paths,
    packages and units that the plans so far would change. releases: the components whose official release was chosen for a site
    that is not recorded yet (chapters/site_sources.py). Made by `session_of`; safe to use from several threads.
    """

    def __init__(self, site: Site):
        self.site = site
        self.hosts = {node.name: Host(node) for node in site.nodes}
        self.vault = Vault(self.master)
        self.lock = SiteLock(self.master, self.hosts.values())
        self.facts: dict[str, HostSnapshot] = {}
        self.planned: dict[str, set[str]] = {}
        self.releases: tuple[str, ...] | None = None
        self.why_built: tuple[str, ...] = ()
        self._kube: Kube | None = None
        self._stacks: dict[tuple[str | None, frozenset[tuple[str, str]]], stacks.Stack] = {}
        self._making = threading.Lock()

    @property
    def master(self) -> Host:
        """The host of the control plane."""
        return self.hosts[self.site.master.name]

    @property
    def registry_host(self) -> Host:
        """The host of the private registry."""
        return self.hosts[self.site.registry_node.name]

    def kube(self) -> Kube:
        """A client of the API server, as its admin, through an SSH forward. Raises NotYet when there is no API server yet."""
        with self._making:
            self.vault.fetch([f"{PKI}/{CLUSTER_CA}", f"{PKI}/admin"])
            authority, admin = self.vault.authority(), self.vault.admin()
            port = self.master.forward(API_PORT)
            # Another forward after a lost connection, another certificate after a reset.
            if self._kube is None or (self._kube.port, self._kube.admin) != (port, admin):
                self._kube = Kube(port, authority.cert, admin, self.master.name)
            return self._kube

    def stack(self, images: Mapping[str, str], name: str | None = None) -> stacks.Stack:
        """The site's stack, or the runbook's own one of that name, with these images; read once in a step. Raises StackError."""
        key = name, frozenset(images.items())
        stack = self._stacks.get(key)
        if stack is None:
            stack = self._stacks[key] = stacks.load(self.site, images, name)
        return stack

    def forget(self) -> None:
        """Read secrets and stacks anew: another process or an editor may have changed them since the step before."""
        self.vault.forget()
        self._stacks.clear()

    def stop(self) -> None:
        """Interrupt the commands on all hosts, as Ctrl-C does those of a step in the main thread; until `resume`."""
        for host in self.hosts.values():
            host.stop()

    def resume(self) -> None:
        """Let the hosts accept commands again after `stop`."""
        for host in self.hosts.values():
            host.resume()

    def close(self) -> None:
        """End all connections, forwards and threads; the session cannot be used any more."""
        with _opening:
            if self in _open:
                _open.remove(self)
        if self._kube:
            self._kube.close()
        self.stop()
