"""The site's etcd, through python-etcd3 and an SSH forward, as its root user, whose certificate is on the master."""

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING, NamedTuple

from airavata_runbook.cluster.memory_file import MemoryFile
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed
from airavata_runbook.wellknown import ETCD_CA, ETCD_PORT, PKI

if TYPE_CHECKING:  # it and gRPC take a while to load
    import etcd3

TIMEOUT = 10  # seconds for one request
NO_PROXY = [("grpc.enable_http_proxy", 0)]  # the environment's proxies cannot reach a forward
# On the master, as etcd's root user.
ETCDCTL = (
    f"etcdctl --endpoints https://127.0.0.1:{ETCD_PORT} "
    f"--cacert {PKI}/{ETCD_CA}.crt --cert {PKI}/etcd/root.crt --key {PKI}/etcd/root.key"
)


class NoAnswer(StepFailed):
    """etcd does not answer. A lost SSH connection cannot be distinguished from an etcd that is down."""


@contextmanager
def client(session: Session) -> "Iterator[etcd3.Etcd3Client]":
    """A client of the site's etcd, closed afterwards. Raises NoAnswer, and StepFailed for an error of etcd."""
    import etcd3  # it and gRPC take a while to load, and few steps use etcd

    vault, master = session.vault, session.master
    vault.fetch([f"{PKI}/{ETCD_CA}", f"{PKI}/etcd/root"])
    pair = vault.pair(f"{PKI}/etcd/root", "the certificate of etcd's root user is issued")
    port = master.forward(ETCD_PORT)
    files = [MemoryFile(content) for content in (vault.authority(ETCD_CA).cert, pair.cert, pair.key)]
    ca, cert, key = (file.path for file in files)
    try:
        with etcd3.client(
            "127.0.0.1", port, ca_cert=ca, cert_cert=cert, cert_key=key, timeout=TIMEOUT, grpc_options=NO_PROXY
        ) as etcd:
            yield etcd
    except (etcd3.exceptions.ConnectionFailedError, etcd3.exceptions.ConnectionTimeoutError):
        raise NoAnswer(
            "etcd does not answer",
            found="no answer over the SSH connection",
            retryable=True,
            remedy=f"run again: it continues where it stopped; if the error stays, on {master.name}: systemctl status etcd",
        ) from None
    except etcd3.exceptions.Etcd3Exception as error:
        raise StepFailed(
            "the request to etcd failed",
            found=str(error) or type(error).__name__,
            retryable=True,
            remedy=f"on {master.name}: journalctl -u etcd",
        ) from None


class Lease(NamedTuple):
    """A host's lease. subnet: of its pods, "10.244.5.0/24". mac: of its interface flannel.1, "" where flannel does not say."""

    subnet: str
    mac: str


def leases(session: Session) -> dict[str, Lease]:
    """flannel's leases in etcd, by the public address of the host."""
    prefix = f"{session.site.network.etcd_prefix}/subnets/"
    with client(session) as etcd:
        return parse_leases([(value, meta.key) for value, meta in etcd.get_prefix(prefix)], prefix)


def parse_leases(entries: Iterable[tuple[bytes, bytes]], prefix: str) -> dict[str, Lease]:
    """The leases from the (value, key) pairs in etcd. Raises StepFailed, which names the invalid key."""
    found = {}
    for value, key in entries:
        name = key.decode(errors="replace").removeprefix(prefix)
        try:
            data = json.loads(value)
            mac = str((data.get("BackendData") or {}).get("VtepMAC", ""))
            found[str(ip_address(data["PublicIP"]))] = Lease(str(ip_network(name.replace("-", "/"))), mac)
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise StepFailed(
                "invalid lease in etcd",
                where=prefix + name[:100],
                found=value.decode(errors="replace")[:200],
                needed='ADDRESS-PREFIX: {"PublicIP": "ADDRESS", …}',
                remedy="run the same version of flannel on all hosts; delete the key if it is unknown",
            ) from error
    return found
