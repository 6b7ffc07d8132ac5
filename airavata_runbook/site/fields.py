"""The kinds of values that a site file holds: what they may look like, in a pattern for machines and in words for people."""

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# Pattern → the same in words, for the message that refuses a value.
PATTERNS: dict[str, str] = {}


def text(pattern: str, words: str, longest: int | None = None):
    """The type of a text that matches a pattern. words: what it has to be, after "needs". longest: in characters."""
    PATTERNS[pattern] = words
    return Annotated[str, Field(pattern=pattern, max_length=longest, strict=True)]


def whole(least: int, most: int | None = None):
    """The type of a whole number within bounds; true, 1.0 and "1" are none."""
    return Annotated[int, Field(strict=True, ge=least, le=most)]


def without_login(text: str) -> str:
    """`text` with … for what an address has before its @ and after its ?: a password may stand in either."""
    return re.sub(r"\?\S*", "?…", re.sub(r"(//|:)(?!//).*@", r"\1…@", text, flags=re.DOTALL))


# Addresses that hosts, pods and services cannot have (IANA's registry of special-purpose addresses, RFC 6890; RFC 5771).
SET_ASIDE = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}
# Interfaces that every host has, or gets, and that do not join it to the others.
OTHER_INTERFACES = {"lo": "the loopback", "cni0": "the pods' bridge", "flannel.1": "made by flannel from the one that is wanted"}
# Folders of the system or of the cluster, with all below them.
TAKEN_TREES = (
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/proc",
    "/run",
    "/sbin",
    "/sys",
    "/usr",
    "/opt/cni",
    "/opt/containerd",
    "/var/cache/apt",
    "/var/lib/apt",
    "/var/lib/cni",
    "/var/lib/containerd",
    "/var/lib/dpkg",
    "/var/lib/etcd",
    "/var/lib/kubelet",
    "/var/lib/systemd",
    "/var/log",
    "/var/run",
)
# Folders below which there is room for one of the site's own.
SHARED_FOLDERS = (
    "/home",
    "/media",
    "/mnt",
    "/opt",
    "/root",
    "/srv",
    "/tmp",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/local",
    "/var/opt",
    "/var/spool",
    "/var/tmp",
)


def _written(words: str) -> BeforeValidator:
    def is_text(value: object) -> object:
        # ipaddress would take true, 167772171 and bytes as well.
        if not isinstance(value, str | IPv4Address | IPv4Network):
            raise ValueError(f"needs {words}")
        return value

    return BeforeValidator(is_text)


def _with_mask(value: object) -> object:
    if isinstance(value, str) and "/" not in value:
        raise ValueError("needs a network with its mask, such as 10.244.0.0/16")
    return value


def _for_hosts(value: IPv4Address | IPv4Network) -> IPv4Address | IPv4Network:
    for network, what in SET_ASIDE.items():
        if IPv4Network(value).overlaps(network):
            raise ValueError(f"needs what hosts can have; {network} is set aside ({what})")
    return value


def _own_folder(path: str) -> str:
    folder = path.removeprefix("file://")
    for tree in TAKEN_TREES:
        if f"{folder}/".startswith(f"{tree}/"):
            raise ValueError(f"needs a folder of its own; {tree} belongs to the system or to the cluster")
    if folder in SHARED_FOLDERS:
        raise ValueError(f"needs a folder of its own, such as {folder}/airavata; {folder} is everybody's")
    return path


def _of_hosts(interface: str) -> str:
    if interface in OTHER_INTERFACES:
        raise ValueError(f"needs the interface that joins the hosts; {interface} is {OTHER_INTERFACES[interface]}")
    return interface


def _no_other_name(name: str) -> str:
    """A name that leads to one host, and that a line of /etc/hosts can give it."""
    if name == "localhost":
        raise ValueError("needs another name; localhost is what every host calls itself")
    if name.rpartition(".")[2].isdigit():  # no top-level domain is all digits, so that the two can be told apart (RFC 3696)
        raise ValueError("needs a name, not an address")
    return name


def _own_namespace(name: str) -> str:
    if name.startswith("kube-"):  # Kubernetes' documentation, "Namespaces"
        raise ValueError("needs a namespace of its own; those that begin with kube- are Kubernetes' own")
    return name


def _own_key(prefix: str) -> str:
    if f"{prefix}/".startswith("/registry/"):  # kube-apiserver's --etcd-prefix
        raise ValueError("needs a key of its own; below /registry the API server keeps Kubernetes' objects")
    return prefix


NAME = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = rf"^{NAME}(\.{NAME})*$"
LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # of a host's name, between two dots
HOST = rf"{LABEL}(\.{LABEL})*"
IPV6 = "[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?"
TCP_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
USER = "[A-Za-z0-9_][A-Za-z0-9._-]*"
PART = "[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*"  # of a path: neither . nor ..
PRINTABLE = r"[^\x00-\x1f\x7f]"
GIVEN = f"env:[A-Za-z_][A-Za-z0-9_]*|(file|prompt|keyring):{PRINTABLE}+"

Name = text(f"^{NAME}$", "lower-case letters, digits and hyphens, 63 of them at most")
# Its authorities are called after it, in at most 64 characters (RFC 5280).
SiteName = text("^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", "lower-case letters, digits and hyphens, 40 of them at most")
NodeName = Annotated[Name, AfterValidator(_no_other_name)]
Namespace = Annotated[Name, AfterValidator(_own_namespace)]
Domain = Annotated[
    text(DOMAIN, "a domain name such as registry.internal, each part of 63 characters at most", 253),
    AfterValidator(_no_other_name),
]
CommonName = Annotated[text(DOMAIN, PATTERNS[DOMAIN], 64), AfterValidator(_no_other_name)]  # a certificate's subject (RFC 5280)
Host = text(f"^({HOST}|{IPV6})$", "a host's name or address, without user and port", 253)
Jump = text(f"^({USER}@)?{HOST}(:{TCP_PORT})?$", "user@host:port, user and port may be left out (ports: 1 to 65535)")
Version = text(r"^[0-9]+\.[0-9]+(\.[0-9]+)?$", "a version such as 1.36.3")
Word = text(f"^{USER}$", "letters, digits, dots, underscores and hyphens, dots and hyphens not first")
Line = text(f"^{PRINTABLE}*$", "one line of text")
Interface = Annotated[
    text(r"^[A-Za-z0-9._-]{1,15}$", "the name of a network interface, 15 characters at most"), AfterValidator(_of_hosts)
]
Digest = text(r"^sha256:[0-9a-f]{64}$", "a digest: sha256: and 64 hexadecimal digits")
Fingerprint = text(r"^SHA256:[A-Za-z0-9+/]{43}=?$", "a fingerprint as ssh-keygen -lf prints it: SHA256:…")
Prefix = Annotated[text(r"^(/[a-z0-9-]+)+$", "a key such as /kube-centos/network"), AfterValidator(_own_key)]
Bridge = text(r"^[a-z][a-z0-9]{0,9}$", "a letter and at most nine letters and digits")
ImageReference = text(
    "^[!-?A-~]+(@sha256:[0-9a-f]{64})?$",
    "an image's reference such as registry.example.org/team/api@sha256:… with 64 hexadecimal digits; a login stands in auth",
)
LocalPath = text(f"^{PRINTABLE}+$", "a path on this machine")
HostPath = text(
    f"^(/{PART})+$",
    "an absolute path on the hosts: letters, digits, dots, underscores and hyphens, no .. in it and no / at its end",
)
KeyFile = text(f"^/({PART}/)*{PART}$", "the absolute path of a key file on the hosts; nothing is downloaded from an address")
Folder = Annotated[HostPath, AfterValidator(_own_folder)]
Url = Annotated[
    text(
        rf"^(file://(/{PART}){{2,}}|https?://({HOST}|\[{IPV6}\])(:{TCP_PORT})?(/[!-~]*)?)$",
        "an address that starts with https:// or http:// and a host, without a login (apt reads one from "
        "/etc/apt/auth.conf.d on the hosts), or with file:// and the absolute path of a folder, two levels deep at "
        "least (letters, digits, dots, underscores and hyphens)",
    ),
    AfterValidator(_own_folder),
]
Port = whole(1, 65535)
NodePort = whole(30000, 32767)
YesNo = Annotated[bool, Field(strict=True)]
HostAddress = Annotated[IPv4Address, _written("an IPv4 address such as 10.0.0.11"), AfterValidator(_for_hosts)]
HostNetwork = Annotated[
    IPv4Network, BeforeValidator(_with_mask), _written("an IPv4 network such as 10.244.0.0/16"), AfterValidator(_for_hosts)
]
SecretRef = text(
    f"^(generated:{NAME}|{GIVEN})$",
    "a reference: generated:NAME (lower-case letters, digits, hyphens), env:NAME, file:PATH, prompt:NAME or "
    "keyring:NAME; a secret's value never stands in a site file",
)
GivenSecret = text(
    f"^({GIVEN})$",
    "a reference to a secret that you have: env:NAME, file:PATH, prompt:NAME or keyring:NAME; what the master "
    "generates is no key of your certificate and no login at another registry, and a secret's value never "
    "stands in a site file",
)
# The checks of preflight.py, which say what each asks.
CheckName = Literal[
    "reachable",
    "host-key",
    "sudo",
    "os",
    "architecture",
    "cpu",
    "memory",
    "disk",
    "address",
    "mtu",
    "ports",
    "swap",
    "kernel",
    "cgroup",
    "selinux",
    "firewalld",
    "packages",
    "clock",
    "networks",
    "registry-name",
    "settings",
    "repository",
    "hostname",
    "machine-id",
    "versions",
    "sources",
    "stack",
]


class Model(BaseModel):
    """Strict: unknown keys and wrong types are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
