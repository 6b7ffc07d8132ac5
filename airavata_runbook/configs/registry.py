"""The private registry's files: its configuration, and the docker-compose.yml of the POC from the same values (row 11).

It has two servers on one folder of images: one for the site's user, who pushes, and one that only serves pulls. A registry
with a password file lets every user in it do everything (distribution's configuration reference, auth).
"""

from airavata_runbook.configs.template import render
from airavata_runbook.site import Site

IMAGE = "registry:3"  # in docker-compose.yml


def config(site: Site) -> str:
    """ROOT/config.yml, read by the registry's service."""
    return render("registry.yaml", site=site, root=site.registry.root)


def pull_config(site: Site) -> str:
    """ROOT/config-pull.yml, read by the service for pulls."""
    return render("registry-pull.yaml", site=site, root=site.registry.root)


def environment(config: str) -> str:
    """/etc/sysconfig/docker-distribution, or docker-distribution-pull. config: the path of the configuration."""
    return render("docker-distribution.conf", config=config)


def pull_unit() -> str:
    """The unit of the service for pulls; that of the other one is in the package."""
    return """\
[Unit]
Description=Private registry of container images, for pulls only
Documentation=https://distribution.github.io/distribution/
After=network-online.target
Wants=network-online.target

[Service]
EnvironmentFile=/etc/sysconfig/docker-distribution-pull
ExecStart=/usr/bin/registry serve ${REGISTRY_CONFIG}
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""


def compose(site: Site) -> str:
    """ROOT/docker-compose.yml: the same registry for a host that has Docker; an alternative to the service."""
    ports = {"port": site.registry.port, "pull_port": site.registry_pull_port}
    return render("docker-compose.yaml", image=IMAGE, root=site.registry.root, **ports)
