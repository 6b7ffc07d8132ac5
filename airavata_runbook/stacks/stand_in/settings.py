"""STAND-IN: airavata-server.properties, the one file of all of Airavata's servers, read as they read it.

A server refuses to start where a key is missing that Airavata's own one needs, or where the file names a host that nobody has.
Keys: those of airavata-server-configuration 0.17 (Maven Central, org.apache.airavata).
"""

import os
import re
import socket
import threading
import time
from collections.abc import Mapping
from urllib.parse import urlsplit

from common import Refused

FOLDER = os.environ.get("STAND_IN_SETTINGS", "/etc/airavata/settings")
NAME = "airavata-server.properties"
CA = f"{FOLDER}/ca.crt"
DEADLINE = float(os.environ.get("STAND_IN_DEADLINE", "10"))  # seconds for the names of all hosts

REGISTRY, APPLICATIONS, REPLICAS, WORKFLOWS = "registry", "appcatalog", "replicacatalog", "wfcatalog"
CREDENTIALS, SHARING, PROFILES = "credential.store", "sharingcatalog", "profile.service"
# Role → what its keys begin with; the API server has keys of its own.
SERVERS = {
    "credential-store": "credential.store.server",
    "gfac": "gfac.server",
    "orchestrator": "orchestrator.server",
    "profile-service": "profile.service.server",
    "registry-server": "regserver.server",
    "sharing-registry": "sharing.registry.server",
}
BROKER, ZOOKEEPER = "rabbitmq.broker.url", "embedded.zk zookeeper.server.connection"
# Role → its own keys, the databases that it uses, and the servers that it calls, by the sources of Airavata 0.17. Not here: keys
# whose default is as good.
USES = {
    "api-server": (
        "apiserver.host TLS.enabled TLS.api.server.port TLS.client.timeout keystore.path keystore.password api.secured "
        f"security.manager.class enable.sharing default.registry.gateway default.registry.user {BROKER}",
        [REGISTRY],
        ["registry-server", "credential-store", "sharing-registry"],
    ),
    "credential-store": (
        "credential.store.keystore.url credential.store.keystore.alias credential.store.keystore.password",
        [CREDENTIALS],
        [],
    ),
    "gfac": (f"gfac.server.name {BROKER} {ZOOKEEPER}", [REGISTRY, APPLICATIONS, CREDENTIALS], []),
    "orchestrator": (
        "embedded.mode enable.validation job.validators start.submitter submitter.interval threadpool.size host.scheduler "
        f"{BROKER} {ZOOKEEPER}",
        [REGISTRY, APPLICATIONS],
        [],
    ),
    "profile-service": ("", [PROFILES], ["registry-server", "credential-store"]),
    "registry-server": ("default.registry.gateway", [REGISTRY, APPLICATIONS, REPLICAS, WORKFLOWS], []),
    "sharing-registry": ("", [SHARING], []),
}


PAIR = re.compile(r"((?:\\.|[^\\=: \t\f])*)[ \t\f]*[=:]?[ \t\f]*(.*)", re.DOTALL)


def needed(role: str) -> list[str]:
    """The keys that Airavata's own server of this name needs."""
    keys, databases, called = USES[role]
    servers = [SERVERS[one] for one in (role, *called) if one in SERVERS]
    access = [f"{one}.jdbc.{key}" for one in databases for key in ("driver", "url", "user", "password")]
    return [*keys.split(), *access, *(f"{one}.{key}" for one in servers for key in ("host", "port"))]


def read(role: str) -> dict[str, str]:
    """The file, once all that the server `role` needs is in it and every host that it names is known. Raises Refused."""
    try:
        with open(f"{FOLDER}/{NAME}", encoding="latin-1") as file:
            found = parse(file.read())
    except OSError as error:
        raise Refused(f"{NAME} cannot be read: {error.strerror}") from None
    if missing := [key for key in needed(role) if not found.get(key)]:
        raise Refused(f"{NAME} has no value for {', '.join(missing)}, which Airavata's own {role} needs")
    named = [(host, key) for key in needed(role) for host in hosts(key, found[key])]
    if unknown := unresolved({host for host, _ in named}):
        lines = ", ".join(f"{host} ({key})" for host, key in named if host in unknown)
        raise Refused(f"{NAME} names hosts that nobody has, asked for {DEADLINE:.0f} s: {lines}")
    return found


def address(found: Mapping[str, str], role: str) -> tuple[str, int]:
    """Host and port of a server. It listens there itself, as Airavata's own does: to it alone its name is 0.0.0.0."""
    keys = ("apiserver.host", "TLS.api.server.port")
    if role in SERVERS:
        keys = (f"{SERVERS[role]}.host", f"{SERVERS[role]}.port")
    host, port = (found[key] for key in keys)
    if not port.isdecimal():
        raise Refused(f"{NAME} has {port!r} for {keys[1]}, which is no port")
    return host, int(port)


def hosts(key: str, value: str) -> list[str]:
    """The hosts that a value names: of a key .host, a URL, or a list HOST:PORT,HOST:PORT."""
    if key.endswith(".host"):
        return [value]
    if "://" in value:
        return [urlsplit(value.removeprefix("jdbc:")).hostname or value]
    if key.endswith(".connection"):
        return [part.rpartition(":")[0] or part for part in value.split(",")]
    return []


def unresolved(names: set[str]) -> set[str]:
    """Those that DNS does not know within the deadline. Each is asked for until it is known: its Service may come later."""
    missing, end = set(names), time.monotonic() + DEADLINE

    def ask(name: str) -> None:
        while time.monotonic() < end:
            try:
                socket.getaddrinfo(name, None)
                return missing.discard(name)
            except OSError:
                time.sleep(0.5)

    threads = [threading.Thread(target=ask, args=(name,), daemon=True) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0, end - time.monotonic()))
    return set(missing)


def parse(text: str) -> dict[str, str]:
    """A file of Java properties (java.util.Properties, load): comments, continued lines, separators and escapes."""
    found, lines = {}, iter(re.split("\r\n|\r|\n", text))
    for line in lines:
        line = line.lstrip(" \t\f")
        if not line or line[0] in "#!":
            continue
        while re.search(r"(?<!\\)(\\\\)*\\$", line):
            line = line[:-1] + next(lines, "").lstrip(" \t\f")
        if pair := PAIR.fullmatch(line):
            found[_plain(pair[1])] = _plain(pair[2])
    return found


def _plain(text: str) -> str:
    """Without escapes. Characters beyond \\uFFFF are two escapes, which are put together."""
    names = {"t": "\t", "n": "\n", "r": "\r", "f": "\f"}

    def letter(found: re.Match) -> str:
        return chr(int(found[1], 16)) if found[1] else names.get(found[2], found[2])

    plain = re.sub(r"\\(?:u([0-9a-fA-F]{4})|(.))", letter, text)
    return plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
