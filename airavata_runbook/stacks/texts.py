"""What no text in a manifest may have: a secret, an address that nobody has, another etcd, an API server without authentication.

Texts are the values of environment variables, commands with their arguments, and files in ConfigMaps.
"""

import re
from collections.abc import Collection, Iterator, Mapping

from airavata_runbook.site.secret_text import holds_secret, is_secret
from airavata_runbook.stacks.known import Known, listed
from airavata_runbook.wellknown import ETCD_PORT

_ADDRESS = re.compile(r"(?<![\w.@$-])([A-Za-z0-9][A-Za-z0-9.-]*):(\d{2,5})(?![\w.:])")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.]*://(?:[^/@\s]*@)?([A-Za-z0-9][A-Za-z0-9.-]*)(?![\w.:$-])")
_HOST = re.compile(r"(?im)^[\w.-]*(?:host|hostname)\s*[=:]\s*([A-Za-z0-9][A-Za-z0-9.-]*)\s*$")  # in a file of settings
_NUMERIC = re.compile(r"\d+(\.\d+){3}")
_HOST_VARIABLE = re.compile(r"_(HOST|HOSTNAME)$")
_ETCD_PREFIX = re.compile(r"etcd[_-]?prefix[\"']?[=:\s]+[\"']?(/[\w./-]*)", re.IGNORECASE)
_ETCD_ADDRESSES = re.compile(r"etcd[_-]?(?:servers|endpoints?|address|url)[\"']?[=:\s]+[\"']?([^\s\"']+)", re.IGNORECASE)
_API_OPEN = re.compile(
    r"--?insecure-[a-z-]+|--?anonymous-auth(?:[= ]true)?(?![\w=])"
    r"|(?:kube(?:rnetes)?[_-]?(?:master|api-?server)|--?master|--?apiserver-host|--?source=kubernetes)[\"']?[=:\s]+[\"']?http://\S+"
    r"|\bkubectl\b.*(?:-s|--server)[= ]http://\S+"
    r"|\b(?:kube-|hyperkube )apiserver(?=\s+-|\s*$)",
    re.IGNORECASE,
)


def text_problems(field: str, text: str, known: Known) -> Iterator[str]:
    """What is wrong in a text, `FIELD: found …; needed: …`. A secret's value is not repeated."""
    if holds_secret(text):
        yield f"{field}: found a secret's value (not repeated here); needed: a Secret, mounted or referred to"
        return
    yield from _api_server(field, text)
    yield from _etcd(field, text, known)
    yield from address_problems(field, text, known)


def address_problems(field: str, text: str, known: Known, others: Collection[str] = ()) -> Iterator[str]:
    """The addresses in a text that nobody has. others: that are right."""
    addresses: set[tuple[str, int | None]] = {
        (name, int(port)) for name, port in _ADDRESS.findall(text) if int(port) != ETCD_PORT
    }
    addresses |= {(name, None) for pattern in (_URL, _HOST) for name in pattern.findall(text)}
    for name, port in sorted((one for one in addresses if one[0] not in others), key=str):
        yield from _address(field, name, port, known)


def setting_problems(field: str, name: str, value: str, known: Known, port: str | None = None) -> Iterator[str]:
    """As `text_problems`, of a value whose name says more of it. port: of the setting beside it, where NAME_HOST is one."""
    if is_secret(name, value):
        yield f"{field}: found a secret's value (not repeated here); needed: valueFrom.secretKeyRef, or a file's path"
        return
    yield from text_problems(field, value, known)
    yield from _api_server(field, f"{name}={value}")
    yield from _etcd(field, f"{name}={value}", known) if "etcd" in name.lower() else ()
    if _HOST_VARIABLE.search(name) and value and not _ADDRESS.search(value) and "://" not in value:
        yield from _address(field, value, int(port) if port and port.isdigit() else None, known)


def port_beside(name: str, values: Mapping[str, str | None]) -> str | None:
    """The value of NAME_PORT beside NAME_HOST."""
    return values.get(_HOST_VARIABLE.sub("_PORT", name)) if _HOST_VARIABLE.search(name) else None


def _api_server(field: str, text: str) -> Iterator[str]:
    for found in dict.fromkeys(_API_OPEN.findall(text)):
        yield (
            f"{field}: found {found.strip()}; needed: https://kubernetes.default.svc with a service account: the site's API "
            "server answers nobody without authentication, and a stack starts no other one"
        )


def _etcd(field: str, text: str, known: Known) -> Iterator[str]:
    """The etcd of flannel and the API server is the site's: one prefix and one address, whatever file names them."""
    prefix, address = known.site.network.etcd_prefix, f"{known.site.master.address}:{ETCD_PORT}"
    for found in _ETCD_PREFIX.findall(text):
        if found != prefix:
            yield f"{field}: found the etcd prefix {found}; needed: {prefix}, network.etcd_prefix"
    given = {one for listed_ones in _ETCD_ADDRESSES.findall(text) for one in listed_ones.split(",")}
    given |= {f"{name}:{port}" for name, port in _ADDRESS.findall(text) if int(port) == ETCD_PORT}
    wrong = sorted({one for one in given if one.removeprefix("https://").rstrip("/") != address})
    for one in wrong:
        if not any(one in other for other in wrong if other != one):
            yield f"{field}: found the etcd address {one}; needed: https://{address}, the site's only etcd"


def _address(field: str, name: str, port: int | None, known: Known) -> Iterator[str]:
    """A name with a dot outside the namespace and the cluster's domain is an external one: not checked."""
    first, _, rest = name.partition(".")
    ours = {"", known.namespace, f"{known.namespace}.svc", f"{known.namespace}.svc.{known.site.network.domain}"}
    if name in ("localhost", "127.0.0.1", "0.0.0.0") or name.isdigit():
        return
    if _NUMERIC.fullmatch(name):
        yield f"{field}: found the address {name}; needed: a Service's name, a pod's address changes"
    elif rest in ours or rest.endswith((".svc", f".svc.{known.site.network.domain}")) or first in known.services:
        services = known.services if rest in ours or first == "kubernetes" else {}
        if first not in services:
            yield f"{field}: found {name}, an unknown name; needed: a Service of the stack, one of {listed(known.services)}"
        elif port is not None and port not in services[first]:
            yield f"{field}: found {name}:{port}; needed: a port of the Service, one of {listed(services[first])}"
