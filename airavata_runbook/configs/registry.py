"""The private registry's files: its configuration, and the docker-compose.yml of the POC from the same values (row 11)."""

from airavata_runbook.site import Site

IMAGE = "registry:3"  # in docker-compose.yml


def config(site: Site) -> str:
    """ROOT/config.yml, read by the registry's service."""
    root = site.registry.root
    return f"""\
# The private registry of site {site.name}: https://{site.registry_address}
version: 0.1
log: {{level: info, accesslog: {{disabled: false}}}}
storage:
  filesystem: {{rootdirectory: {root}/data}}
  delete: {{enabled: true}}
auth:
  htpasswd: {{realm: {site.registry.name}, path: {root}/auth/htpasswd}}
http:
  addr: 0.0.0.0:{site.registry.port}
  tls:
    certificate: {root}/cert/registry-cert.crt
    key: {root}/cert/registry-cert.key
    minimumtls: tls1.2
"""


def environment(site: Site) -> str:
    """/etc/sysconfig/docker-distribution."""
    return f"# Where the registry finds its configuration.\nREGISTRY_CONFIG={site.registry.root}/config.yml\n"


def compose(site: Site) -> str:
    """ROOT/docker-compose.yml: the same registry for a host that has Docker; an alternative to the service."""
    return f"""\
# The registry as the POC started it: `docker compose up -d`, on a host that has Docker and not the service
# docker-distribution. Same folders, same port, same password file.
services:
  registry:
    image: {IMAGE}
    restart: always
    ports: ["{site.registry.port}:{site.registry.port}"]
    command: ["serve", "{site.registry.root}/config.yml"]
    volumes:
      - {site.registry.root}/config.yml:{site.registry.root}/config.yml:ro
      - {site.registry.root}/auth:{site.registry.root}/auth:ro
      - {site.registry.root}/cert:{site.registry.root}/cert:ro
      - {site.registry.root}/data:{site.registry.root}/data
"""
