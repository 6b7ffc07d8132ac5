"""The private registry's files: its configuration, and the docker-compose.yml of the POC from the same values (row 11)."""

import yaml

from airavata_runbook.errors import StepFailed
from airavata_runbook.site import Site

IMAGE = "registry:3"  # what a host with Docker would run from docker-compose.yml


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
    """ROOT/docker-compose.yml: the same registry for a host that has Docker; the service and this never run together."""
    text = f"""\
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
    problems = compose_problems(text, config(site))
    if problems:
        raise StepFailed("docker-compose.yml does not agree with the registry's configuration", found="; ".join(problems))
    return text


def compose_problems(text: str, configuration: str) -> list[str]:
    """Where a docker-compose.yml would start another registry than `configuration` describes; [] when nowhere.

    Source: the Compose specification's service fields image, command, ports and volumes.
    """
    service, settings = yaml.safe_load(text)["services"]["registry"], yaml.safe_load(configuration)
    mounts = {
        inside: options
        for _, inside, options in (
            volume.split(":") if volume.count(":") == 2 else (*volume.split(":"), "rw") for volume in service["volumes"]
        )
    }
    port = settings["http"]["addr"].rpartition(":")[2]
    found = [] if service["ports"] == [f"{port}:{port}"] else [f"ports {service['ports']}, the registry listens on {port}"]
    if service["command"][0] != "serve" or service["command"][1] not in mounts:
        found.append("the configuration file is not mounted")
    needed = [settings["auth"]["htpasswd"]["path"], settings["http"]["tls"]["certificate"], settings["http"]["tls"]["key"]]
    found += [f"{path} is not mounted" for path in needed if path.rpartition("/")[0] not in mounts]
    data = settings["storage"]["filesystem"]["rootdirectory"]
    return found + ([] if mounts.get(data) == "rw" else [f"{data} is not mounted for writing"])
