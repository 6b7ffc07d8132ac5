"""The text of a new site file, with comments on what else may be set there."""

from collections import Counter
from collections.abc import Iterator
from itertools import chain

from airavata_runbook.run.new_site.values import NewHost, NewSite
from airavata_runbook.serialise import yaml_value as value

HEAD = """# yaml-language-server: $schema=site.schema.json
# Written by `airavata-runbook init`. What is not here has a default; parameters/fields.md lists all fields, and an editor with
# the YAML language server completes them. `airavata-runbook check {name}` says what is still missing.
site:
  name: {name}
"""


def site_text(site: NewSite) -> str:
    """The site file. Every value is serialised as YAML."""
    lines = chain.from_iterable(part(site) for part in (_ssh, _nodes, _registry, _airavata))
    return HEAD.format(name=value(site.name)) + "".join(f"{line}\n" for line in lines)


def _ssh(site: NewSite) -> Iterator[str]:
    yield ""
    yield "  # How this machine connects. A user other than root needs sudo without a password."
    yield "  ssh:"
    yield f"    user: {value(_user(site))}"
    key = "# key: ~/.ssh/id_ed25519  # default: the keys of the SSH agent and those in ~/.ssh"
    yield f"    key: {value(site.key)}" if site.key else f"    {key}"
    yield f"    jump: {value(site.jump)}" if site.jump else "    # jump: me@bastion.example.org  # a jump host"
    if site.jump_fingerprint:
        yield f"    jump_fingerprint: {value(site.jump_fingerprint)}"


def _nodes(site: NewSite) -> Iterator[str]:
    yield ""
    yield "  # The hosts: address and interface on the network that they all share. The master runs etcd and the control plane."
    yield "  nodes:"
    for number, host in enumerate(site.hosts):
        yield f"    - name: {value(host.name)}"
        yield f"      address: {value(host.address)}"
        yield f"      interface: {value(host.interface)}"
        yield f"      role: {'worker' if number else 'master'}"
        if own := _own_ssh(site, host):
            yield "      ssh:"
            yield from (f"        {line}" for line in own)


def _own_ssh(site: NewSite, host: NewHost) -> list[str]:
    """What a host's connection has otherwise than the others."""
    lines = [f"host: {value(host.target)}"] if host.target != host.address else []
    lines += [f"port: {host.port}"] if host.port != 22 else []
    lines += [f"user: {value(host.user)}"] if host.user != _user(site) else []
    if host.fingerprint:
        lines.append(f"fingerprint: {value(host.fingerprint)}  # of the host's key; another key is refused")
    return lines


def _registry(site: NewSite) -> Iterator[str]:
    yield ""
    yield "  # The private registry, on the master. Its password is generated there: airavata-runbook secret " + site.name
    yield "  registry:"
    yield f"    name: {value(site.registry)}"
    if site.certificate:
        certificate, key, intermediate = site.certificate
        yield "    certificate:  # your own"
        yield f"      certificate: {value(certificate)}"
        if intermediate:
            yield f"      chain: {value(intermediate)}"
        yield f"      key: {value('file:' + key)}"
    else:
        yield "    # certificate: {certificate: FILE, chain: FILE, key: 'file:FILE'}  # default: made by the site's authority"


def _airavata(site: NewSite) -> Iterator[str]:
    yield ""
    yield "  airavata:"
    yield f"    stack: {value(site.stack)}"
    if site.stack == "unified":
        yield "    unified:"
        yield f"      realm: {value(site.realm)}"
        if site.jar:
            yield f"      server: {{jar: {value(site.jar)}, sha256: {value(site.sha256)}}}"
        else:
            yield "      # server: {jar: PATH or https URL, sha256: what sha256sum prints}"
    else:
        yield "    # images:  # your own of Airavata's servers, from whatever you have; without one a server is left out"
        yield '    #   api-server: {pull: "registry.example.org/airavata/api@sha256:…"}'
        yield "    #   gfac: {archive: gfac.tar}"
    if site.stand_in:
        yield "    stand_in: true  # a STAND-IN for each of Airavata's own servers that has no image here"


def _user(site: NewSite) -> str:
    """The user of most hosts."""
    return Counter(host.user for host in site.hosts).most_common(1)[0][0]
