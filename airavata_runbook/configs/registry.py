"""The private registry's files: its configuration, and the docker-compose.yml of the POC from the same values (row 11)."""

from airavata_runbook.configs.template import render
from airavata_runbook.site import Site

IMAGE = "registry:3"  # in docker-compose.yml


def config(site: Site) -> str:
    """ROOT/config.yml, read by the registry's service."""
    return render("registry.yaml", site=site, root=site.registry.root)


def environment(site: Site) -> str:
    """/etc/sysconfig/docker-distribution."""
    return render("docker-distribution.conf", root=site.registry.root)


def compose(site: Site) -> str:
    """ROOT/docker-compose.yml: the same registry for a host that has Docker; an alternative to the service."""
    return render("docker-compose.yaml", image=IMAGE, port=site.registry.port, root=site.registry.root)
