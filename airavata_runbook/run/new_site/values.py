"""The few values of a new site, as options or answers give them; each is checked as the site file's own field."""

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

from pydantic import TypeAdapter, ValidationError

from airavata_runbook.errors import SiteError
from airavata_runbook.site.fields import PATTERNS, Fingerprint, Host, HostAddress, Login, NodeName, Port
from airavata_runbook.site.messages import NEEDED
from airavata_runbook.site.node import Node, Ssh

HOST = re.compile(r"(?P<name>[^=]+)=((?P<user>[^@]+)@)?(?P<target>[^@:/]+)(:(?P<port>[0-9]+))?(/(?P<address>[0-9.]+))?")
HOST_FORM = "NAME=[USER@]HOST[:PORT][/ADDRESS]"


@dataclass
class NewHost:
    """target: what this machine connects to. address: on the network of the hosts; "" until it is known."""

    name: str
    target: str
    user: str = "root"
    port: int = 22
    address: str = ""
    interface: str = "eth0"
    fingerprint: str = ""
    compared: bool = False  # the fingerprint, by the user, in this call


@dataclass
class NewSite:
    """hosts: the first is the master. key, jump: as in the site's ssh section. certificate: paths, of certificate, key, chain."""

    name: str = ""
    hosts: list[NewHost] = field(default_factory=list)
    key: str = ""
    jump: str = ""
    jump_fingerprint: str = ""
    certificate: tuple[str, str, str] | None = None
    registry: str = "registry.internal"
    stack: str = "classic"
    realm: str = ""
    jar: str = ""
    sha256: str = ""
    stand_in: bool = False

    def node(self, host: NewHost) -> Node:
        """The host as a node, to connect to it."""
        own = {"key": self.key, "jump": self.jump, "jump_fingerprint": self.jump_fingerprint, "fingerprint": host.fingerprint}
        given: dict[str, Any] = {name: value for name, value in own.items() if value}
        ssh = Ssh(host=host.target, port=host.port, user=host.user, **given)
        return Node(name=host.name, address=IPv4Address(host.address or "192.0.2.1"), role="master", ssh=ssh)


def parse_host(text: str) -> NewHost:
    """A host as --host gives it, for example head=admin@10.0.0.11. Raises SiteError."""
    found = HOST.fullmatch(text)
    if not found:
        raise SiteError("invalid --host", found=text, needed=HOST_FORM, remedy="for example --host head=admin@10.0.0.11")
    one = NewHost(found["name"], found["target"], found["user"] or "root", int(found["port"] or 22), found["address"] or "")
    for kind, value, what in (
        (NodeName, one.name, "name"),
        (Host, one.target, "host"),
        (Login, one.user, "user"),
        (Port, one.port, "port"),
        (HostAddress, one.address or "10.0.0.1", "address"),
    ):
        if problem := invalid(kind, value):
            raise SiteError(f"invalid --host: the {what} {problem}", found=text, needed=HOST_FORM)
    return one


def with_fingerprints(hosts: list[NewHost], given: list[str]) -> None:
    """Give hosts the fingerprints that were compared elsewhere, as --fingerprint NAME=SHA256:… has them. Raises SiteError."""
    by_name = {host.name: host for host in hosts}
    for text in given:
        name, _, fingerprint = text.partition("=")
        if name not in by_name:
            raise SiteError("--fingerprint for an unknown host", found=text, needed="NAME=SHA256:… of a --host")
        if problem := invalid(Fingerprint, fingerprint):
            raise SiteError(f"invalid --fingerprint: {problem}", found=text)
        by_name[name].fingerprint, by_name[name].compared = fingerprint, True


def invalid(kind: Any, value: object) -> str:
    """What is needed instead of the value, as the site file's messages have it; "" for a valid one."""
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        context = first.get("ctx", {})
        if pattern := PATTERNS.get(context.get("pattern", "")):
            return f"needs {pattern}"
        return NEEDED.get(first["type"], first["msg"].removeprefix("Value error, ")).format(**context)
    return ""
