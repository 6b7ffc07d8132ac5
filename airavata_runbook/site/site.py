"""The site: the one typed model of a site file. Nothing else in the package reads parameters.

A site file is YAML with exactly one top-level key, `site:`. Every key below it is checked: unknown keys, wrong types and
conflicting values are reported before any host is touched, with the field's path and the remedy.
"""

import os
from collections.abc import Mapping

from pydantic import ValidationError

from airavata_runbook.errors import SiteError
from airavata_runbook.local.live import live_notebook
from airavata_runbook.site import file as site_file
from airavata_runbook.site.messages import describe_errors, invalid_site
from airavata_runbook.site.node import Node
from airavata_runbook.site.parts import Sections
from airavata_runbook.site.validate import validate


class Site(Sections):
    """One site, returned by `Site.load`; every notebook and command starts with it.

    ignore_checks: names of preflight checks whose findings do not stop a run. lab: omitted for a site of real hosts; null is
    rejected, because it could mean either kind of hosts.
    """

    @classmethod
    def load(
        cls, source: "Site | Mapping | str | os.PathLike | None" = None, overrides: Mapping[str, object] | None = None
    ) -> "Site":
        """The site that `source` names: a name in parameters/, a path, the mapping below `site:`, or a Site.

        None: the value of the environment variable AIRAVATA_RUNBOOK_SITE, or in a live notebook without it the site that a
        person chooses. There is no default site.
        overrides: dotted field → value, as in `--set a.b=c`. Raises SiteError.
        """
        live = live_notebook()
        chosen = live.choice(source) if live else source
        by_choice, source = chosen is not source, chosen
        if isinstance(source, Site) and not overrides:
            return source
        if isinstance(source, Site):
            data, where = source.model_dump(mode="json", exclude_unset=True), f"site {source.name}"
        else:
            data, where = site_file.read(source)
        for dotted, value in (overrides or {}).items():
            site_file.set_field(data, dotted, value)
        try:
            site = cls.model_validate(site_file.with_defaults(data))
        except ValidationError as error:
            raise invalid_site(describe_errors(error, data, cls), where) from None
        if problems := validate(site):
            raise invalid_site(problems, where)
        if live and by_choice:
            live.loaded(site, source)
        return site

    @property
    def master(self) -> Node:
        """The one node that runs etcd and the control plane."""
        return next(node for node in self.nodes if node.role == "master")

    @property
    def registry_node(self) -> Node:
        """The node that runs the private registry (default: the master, as in the POC)."""
        return self.node(self.registry_node_name)

    @property
    def storage_node(self) -> Node:
        """The node whose disk holds the volumes of the stack's databases (default: the first worker)."""
        return self.node(self.storage_node_name)

    @property
    def registry_address(self) -> str:
        """NAME:PORT, the first part of every image reference of this site."""
        return f"{self.registry.name}:{self.registry.port}"

    @property
    def registry_pull_address(self) -> str:
        """NAME:PORT at which the hosts pull these images."""
        return f"{self.registry.name}:{self.registry_pull_port}"

    @property
    def keycloak_url(self) -> str:
        """By which users reach Keycloak: the issuer of all tokens, for clients within the cluster too."""
        unified = self.airavata.unified
        return unified.keycloak_url or f"https://{self.master.address}:{unified.keycloak_node_port}"

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

    def _ipython_display_(self) -> None:
        live = live_notebook()
        if not live:
            raise NotImplementedError  # IPython then shows the text, as everywhere
        live.show(self)
