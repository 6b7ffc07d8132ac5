"""Where a step works: a host of a site, with what is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial

from airavata_runbook.cluster.session import Session
from airavata_runbook.distributions import Packaging, Platform, packaging_of, platform_of
from airavata_runbook.distributions.package_format import PackageFormat
from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts.facts import HOST_FACTS, Os
from airavata_runbook.hosts.fan_out import FanOut
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.node_settings import NodeSettings, derive_node_settings
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.hosts.snapshot import HostSnapshot, gather
from airavata_runbook.hosts.vault import Vault
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node


@dataclass
class Target:
    """The argument of a step's function: the site's session and one host. fan_outs: for files that several hosts need, one from
    each host of the step, by its name, in the order in which they begin.
    """

    session: Session
    host: Host
    fan_outs: Mapping[str, FanOut] = field(default_factory=dict)

    @property
    def site(self) -> Site:
        return self.session.site

    @property
    def node(self) -> Node:
        return self.host.node

    @property
    def vault(self) -> Vault:
        return self.session.vault

    @cached_property
    def facts(self) -> HostSnapshot:
        """Facts of the host, gathered once in a process, or until all can be parsed; chapter 01 gathers them anew."""
        facts = self.session.facts.get(self.host.name)
        if facts is None or not facts.complete:
            facts = self.session.facts[self.host.name] = gather(self.host, HOST_FACTS)
        return facts

    @cached_property
    def settings(self) -> NodeSettings:
        """What follows from the facts for this host's components, with the reasons."""
        return derive_node_settings(self.facts)

    @property
    def packaging(self) -> Packaging:
        """How the host's packages are managed, by its os-release."""
        return packaging_of(self.facts.get(Os))

    @property
    def platform(self) -> Platform:
        """What else follows from the host's distribution."""
        return platform_of(self.facts.get(Os))

    @property
    def formats(self) -> list[PackageFormat]:
        """Those of the packages of the site's hosts, each once. A host that does not answer is told of by its own steps."""
        found = run_parallel(self.session.hosts.values(), self.format_of).values()
        return sorted({one for one in found if one and not isinstance(one, Exception)}, key=lambda one: one.name)

    @property
    def fan_out(self) -> FanOut | None:
        """From the first host of the step that has packages of this one's format; it may be this one."""
        own = self.packaging.format
        return next((one for one in self.fan_outs.values() if one.ask(partial(self.format_of, one.source)) is own), None)

    def format_of(self, host: Host) -> PackageFormat | None:
        """That of another host's packages; None while it does not answer."""
        try:
            return Target(self.session, host).packaging.format
        except HostUnreachable:
            return None


def everywhere(site: Site) -> list[Node]:
    return sorted(site.nodes, key=lambda node: node.name)


def master(site: Site) -> list[Node]:
    return [site.master]


def registry_node(site: Site) -> list[Node]:
    return [site.registry_node]
