"""The site: the one typed model of a site file. Nothing else in the package reads parameters.

A site file is YAML with exactly one top-level key, `site:`. Every key below it is checked: an unknown key, a
wrong type or a contradiction is refused before any host is touched, with the field's path and the remedy.
"""

import os
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, ValidationError

from airavata_runbook.errors import SiteError
from airavata_runbook.site import file as site_file
from airavata_runbook.site.fields import (
    CheckName,
    Model,
    SiteName,
)
from airavata_runbook.site.messages import explain, refusal
from airavata_runbook.site.parts import Airavata, Lab, Network, Node, Registry, Repository, Ssh, Versions
from airavata_runbook.site.validate import contradictions


class Site(Model):
    """One site. Made by `Site.load`; every notebook and command starts with it.

    ignore_checks: names of checks of the first chapter whose findings do not stop a run.
    """

    name: SiteName
    ssh: Ssh = Ssh()
    nodes: Annotated[list[Node], Field(min_length=1)]
    network: Network = Network()
    repository: Repository = Repository()
    versions: Versions = Versions()
    registry: Registry = Registry()
    airavata: Airavata = Airavata()
    ignore_checks: list[CheckName] = []
    lab: Lab = None  # when it is not given; null is no value of it

    @classmethod
    def load(
        cls, source: "Site | Mapping | str | os.PathLike | None" = None, overrides: Mapping[str, object] | None = None
    ) -> "Site":
        """The site that `source` names: a name in parameters/, a path, the mapping below `site:`, or a Site.

        None means: what the environment variable AIRAVATA_RUNBOOK_SITE says. There is no default site.
        overrides: dotted fields to values, as `--set a.b=c` gives them. Raises SiteError.
        """
        if isinstance(source, Site) and not overrides:
            return source
        if isinstance(source, Site):
            data, where = source.model_dump(mode="json", exclude_unset=True), f"site {source.name}"
        else:
            data, where = site_file.read(source)
        for dotted, value in (overrides or {}).items():
            site_file.put(data, dotted, value)
        try:
            site = cls.model_validate(site_file.with_defaults(data))
        except ValidationError as error:
            raise explain(error, data, cls, where) from None
        if problems := contradictions(site):
            raise refusal(problems, where)
        return site

    @property
    def master(self) -> Node:
        """The one node that runs etcd and the control plane."""
        return next(node for node in self.nodes if node.role == "master")

    @property
    def workers(self) -> list[Node]:
        return [node for node in self.nodes if node.role == "worker"]

    @property
    def registry_node(self) -> Node:
        """The node that runs the private registry (default: the master, as in the POC)."""
        return self.node(self.registry.node) if self.registry.node else self.master

    @property
    def storage_node(self) -> Node:
        """The node whose disk holds the volumes of the stack's databases (default: the first worker)."""
        name = self.airavata.storage_node
        return self.node(name) if name else (self.workers or [self.master])[0]

    @property
    def registry_address(self) -> str:
        """NAME:PORT, the first part of every image reference of this site."""
        return f"{self.registry.name}:{self.registry.port}"

    def node(self, name: str) -> Node:
        """The node of that name; raises SiteError when the site has none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise SiteError(f"site {self.name} has no node {name!r}", needed="one of " + ", ".join(node.name for node in self.nodes))

    def __repr__(self) -> str:
        hosts = ", ".join(f"{node.name} ({node.role}, {node.address})" for node in self.nodes)
        return (
            f"site {self.name}: {hosts}; pods {self.network.pods}, services {self.network.services}; "
            f"Airavata stack {self.airavata.stack}"
        )

    __str__ = __repr__
