"""The types of values in a site file: a pattern for editors (JSON Schema), and the same in words for the error message."""

import re
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

# Pattern → the same in words, for the message that rejects a value.
PATTERNS: dict[str, str] = {}


def text(pattern: str, words: str, longest: int | None = None) -> Any:
    """Constraint: a text that matches `pattern`. words: what is needed, after "needs". longest: in characters.

    Raises ValueError for a pattern that has other words already: a message would have the wrong ones.
    """
    if PATTERNS.setdefault(pattern, words) != words:
        raise ValueError(f"{pattern} is also: {PATTERNS[pattern]}")
    return Field(pattern=pattern, max_length=longest, strict=True)


def whole(least: int, most: int | None = None) -> Any:
    """Constraint: a whole number within bounds; true, 1.0 and "1" are rejected."""
    return Field(strict=True, ge=least, le=most)


def not_matching(pattern: str, words: str) -> AfterValidator:
    """Constraint: no part of a text matches `pattern`. words: what is needed instead, and why, after "needs"."""

    def check(value: str) -> str:
        if re.search(pattern, value):
            raise ValueError(f"needs {words}")
        return value

    return AfterValidator(check)


def without_login(text: str) -> str:
    """`text` with … for the part of an address before its @ and after its ?: either may hold a password."""
    return re.sub(r"\?\S*", "?…", re.sub(r"(//|:)(?!//).*@", r"\1…@", text, flags=re.DOTALL))


# Addresses that hosts, pods and services cannot have (IANA's registry of special-purpose addresses, RFC 6890; RFC 5771).
RESERVED_NETWORKS = {
    IPv4Network("0.0.0.0/8"): "this network",
    IPv4Network("127.0.0.0/8"): "loopback",
    IPv4Network("169.254.0.0/16"): "link-local",
    IPv4Network("224.0.0.0/4"): "multicast",
    IPv4Network("240.0.0.0/4"): "reserved",
}
# Folders that, with everything below them, are not the site's to choose.
RESERVED_FOLDERS = {
    "the system": (
        *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/proc", "/run", "/sbin", "/sys", "/usr"),
        *("/var/cache/apt", "/var/cache/dnf", "/var/cache/yum", "/var/lib/apt", "/var/lib/dnf", "/var/lib/dpkg", "/var/lib/rpm"),
        *("/var/lib/systemd", "/var/log", "/var/run"),
    ),
    "the cluster": (
        *("/opt/cni", "/opt/containerd", "/var/lib/cni", "/var/lib/containerd", "/var/lib/etcd", "/var/lib/kubelet"),
    ),
}
# Folders that a folder of the site may be in, but not be.
SHARED_FOLDERS = (
    *("/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp"),
    *("/var", "/var/cache", "/var/lib", "/var/local", "/var/opt", "/var/spool", "/var/tmp"),
)


def _address_text(words: str) -> BeforeValidator:
    def check(value: object) -> object:
        # ipaddress would accept true, 167772171 and bytes as well.
        if not isinstance(value, str | IPv4Address | IPv4Network):
            raise ValueError(f"needs {words}")
        return value

    return BeforeValidator(check)


def _with_mask(value: object) -> object:
    if isinstance(value, str) and "/" not in value:
        raise ValueError("needs a network with its mask, such as 10.244.0.0/16")
    return value


def _usable_by_hosts(value: IPv4Address | IPv4Network) -> IPv4Address | IPv4Network:
    for network, use in RESERVED_NETWORKS.items():
        if IPv4Network(value).overlaps(network):
            raise ValueError(f"needs addresses that hosts can use; {network} is reserved ({use})")
    return value


def _dedicated_folder(path: str) -> str:
    folder = path.removeprefix("file://")
    for owner, trees in RESERVED_FOLDERS.items():
        for tree in trees:
            if f"{folder}/".startswith(f"{tree}/"):
                raise ValueError(f"needs a dedicated folder; {tree} belongs to {owner}")
    if folder in SHARED_FOLDERS:
        raise ValueError(f"needs a dedicated folder, such as {folder}/airavata; {folder} is shared with other software")
    return path


NAME = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
DOMAIN = rf"^{NAME}(\.{NAME})*$"
LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"  # of a host's name, between two dots
HOST = rf"{LABEL}(\.{LABEL})*"
IPV6 = "[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*(%[A-Za-z0-9._-]+)?"
TCP_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
HOST_PORT = rf"({HOST}|\[{IPV6}\])(:{TCP_PORT})?"  # as in a URL; the port may be left out
USER = "[A-Za-z0-9_][A-Za-z0-9._-]*"
LOGIN = r"[A-Za-z0-9_][A-Za-z0-9._@+$-]*(\\[A-Za-z0-9_][A-Za-z0-9._@+$-]*)?"  # with the forms of Active Directory
PART = "[A-Za-z0-9._-]*[A-Za-z0-9_-][A-Za-z0-9._-]*"  # of a path: neither . nor ..
URL_PATH = "[A-Za-z0-9._~:/?@!$&'()*+,;=%-]*"  # RFC 3986; apt takes " # [ ] in an address for its own marks
PRINTABLE = r"[^\x00-\x1f\x7f]"
EXTERNAL = f"env:[A-Za-z_][A-Za-z0-9_]*|(file|prompt|keyring):{PRINTABLE}+"

Name = Annotated[str, text(f"^{NAME}$", "lower-case letters, digits and hyphens, at most 63")]
# The common names of its certificate authorities are made from it, and have at most 64 characters (RFC 5280).
SiteName = Annotated[str, text("^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$", "lower-case letters, digits and hyphens, at most 40")]
# A host's name identifies one host. No top-level domain is all digits, so that it differs from an address (RFC 3696).
NO_LOCALHOST = not_matching("^localhost$", "another name; localhost is every host's own loopback name")
NO_ADDRESS = not_matching(r"(^|\.)[0-9]+$", "a name, not an address")
NodeName = Annotated[Name, NO_LOCALHOST, NO_ADDRESS]
Namespace = Annotated[  # Kubernetes' documentation, "Namespaces"
    Name, not_matching("^kube-", "a namespace of its own; the prefix kube- is reserved for Kubernetes")
]
Domain = Annotated[
    str,
    text(DOMAIN, "a domain name such as registry.internal, at most 63 characters between two dots", 253),
    NO_LOCALHOST,
    NO_ADDRESS,
]
CommonName = Annotated[str, text(DOMAIN, PATTERNS[DOMAIN], 64), NO_LOCALHOST, NO_ADDRESS]  # a certificate's subject (RFC 5280)
Host = Annotated[str, text(f"^({HOST}|{IPV6})$", "a host's name or address, without user and port", 253)]
JUMP = rf"({LOGIN}@)?{HOST_PORT}"
Jump = Annotated[
    str,
    text(
        f"^{JUMP}(,{JUMP})*$",
        "[user@]host[:port], a port from 1 to 65535; several with a comma between them",
    ),
]
Version = Annotated[str, text(r"^[0-9]+\.[0-9]+(\.[0-9]+)?$", "a version such as 1.36.3")]
Word = Annotated[str, text(f"^{USER}$", "letters, digits, dots, underscores and hyphens, the first no dot or hyphen")]
Login = Annotated[
    str,
    text(
        f"^{LOGIN}$",
        r"a user's name: letters, digits, dots, underscores, hyphens and @, the first no dot or hyphen; or DOMAIN\user",
    ),
]
Line = Annotated[str, text(f"^{PRINTABLE}*$", "one line of text")]
Interface = Annotated[
    str,
    text(r"^[A-Za-z0-9._-]{1,15}$", "the name of a network interface, at most 15 characters"),
    not_matching("^lo$", "the interface that connects the hosts; lo is the loopback interface"),
    not_matching("^cni0$", "the interface that connects the hosts; cni0 is the pods' bridge"),
    not_matching(r"^flannel\.1$", "the interface that connects the hosts; flannel.1 is the VXLAN interface that flannel makes"),
]
Digest = Annotated[str, text(r"^sha256:[0-9a-f]{64}$", "a digest: sha256: and 64 hexadecimal digits")]
Sha256 = Annotated[str, text(r"^[0-9a-f]{64}$", "64 hexadecimal digits, as sha256sum prints them")]
Fingerprint = Annotated[str, text(r"^SHA256:[A-Za-z0-9+/]{43}=?$", "a fingerprint as ssh-keygen -lf prints it: SHA256:…")]
Prefix = Annotated[  # kube-apiserver's --etcd-prefix
    str,
    text(r"^(/[a-z0-9-]+(\.[a-z0-9-]+)*)+$", "a key such as /kube-centos/network"),
    not_matching("^/registry(/|$)", "a key of its own; below /registry the API server keeps Kubernetes' objects"),
]
Bridge = Annotated[str, text(r"^[a-z][a-z0-9]{0,9}$", "a letter and at most nine letters and digits")]
ImageReference = Annotated[
    str,
    text(
        "^[!-?A-~]+(@sha256:[0-9a-f]{64})?$",
        "an image reference such as registry.example.org/team/api@sha256:… with 64 hexadecimal digits; a login belongs in auth",
    ),
]
LocalPath = Annotated[str, text(f"^{PRINTABLE}+$", "a path on this machine")]
PathOrUrl = Annotated[
    str,
    text(f"^({PRINTABLE})+$", "a path on this machine, or a URL"),
    not_matching("^(?!https://)[A-Za-z][A-Za-z0-9+.-]*://", "a path on this machine, or a URL that starts with https://"),
    not_matching("^https://([^/]*@|[^/]*$)", "a URL with a host and a path, without a login, which belongs in auth"),
]
HostPath = Annotated[
    str,
    text(
        f"^(/{PART})+$",
        "an absolute path on the hosts: letters, digits, dots, underscores and hyphens, no .. in it and no / at its end",
    ),
]
KeyFile = Annotated[str, text(f"^/({PART}/)*{PART}$", "the absolute path of a key file on the hosts; keys are not downloaded")]
Folder = Annotated[HostPath, AfterValidator(_dedicated_folder)]
Url = Annotated[
    str,
    text(
        rf"^(file://(/{PART}){{2,}}|https?://{HOST_PORT}(/{URL_PATH})?)$",
        "an address that starts with https:// or http:// and a host, without a login (where hosts have apt, "
        "it reads one from /etc/apt/auth.conf.d), or with file:// and the absolute path of a folder, two levels deep at "
        "least (letters, digits, dots, underscores and hyphens)",
    ),
    AfterValidator(_dedicated_folder),
]
HttpsUrl = Annotated[
    str,
    text(
        rf"^https://{HOST_PORT}(/{URL_PATH})?$",
        "an address that starts with https:// and a host, without a login",
    ),
    not_matching("/$", "an address without / at its end"),
]
Origin = Annotated[
    str,
    text(rf"^https://{NAME}(\.{NAME})*(:{TCP_PORT})?$", "https://HOST or https://HOST:PORT, in lower-case letters", 253),
]
Port = Annotated[int, whole(1, 65535)]
NODE_PORT_RANGE = range(30000, 32768)  # the API server's own default
NodePort = Annotated[int, whole(NODE_PORT_RANGE[0], NODE_PORT_RANGE[-1])]
Cpu = Annotated[str, text(r"^([1-9][0-9]*m|[0-9]+(\.[0-9]{1,3})?)$", 'CPUs, in quotes: "2", "0.5" or "500m"')]
Memory = Annotated[str, text("^[1-9][0-9]*(Ki|Mi|Gi|Ti)$", 'an amount of memory with Ki, Mi, Gi or Ti: "512Mi"')]
EnvName = Annotated[str, text(r"^[A-Za-z_][A-Za-z0-9_.-]*$", "the name of an environment variable: letters, digits, _, . and -")]
YesNo = Annotated[bool, Field(strict=True)]
HostAddress = Annotated[IPv4Address, _address_text("an IPv4 address such as 10.0.0.11"), AfterValidator(_usable_by_hosts)]
HostNetwork = Annotated[
    IPv4Network,
    BeforeValidator(_with_mask),
    _address_text("an IPv4 network such as 10.244.0.0/16"),
    AfterValidator(_usable_by_hosts),
]
SecretRef = Annotated[
    str,
    text(
        f"^(generated:{NAME}|{EXTERNAL})$",
        "a reference: generated:NAME (lower-case letters, digits, hyphens), env:NAME, file:PATH, prompt:NAME or "
        "keyring:NAME; a site file never holds a secret's value",
    ),
]
ExternalSecret = Annotated[
    str,
    text(
        f"^({EXTERNAL})$",
        "a reference to an existing secret: env:NAME, file:PATH, prompt:NAME or keyring:NAME; a generated: value cannot be "
        "the key of your certificate or a login at another registry, and a site file never holds a secret's value",
    ),
]
# Site.load does not know the checks: preflight.py has them and rejects an unknown name, before it connects to a host.
CheckName = Annotated[str, text("^[a-z0-9]+(-[a-z0-9]+)*$", "the name of a check: lower-case letters, digits and hyphens")]


class Model(BaseModel):
    """Strict: unknown keys and wrong types are errors, values never change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)
