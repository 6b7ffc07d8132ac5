"""The site's etcd, through python-etcd3 and an SSH forward, with the client certificate on the master."""

import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING

from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import StepFailed
from airavata_runbook.wellknown import ETCD_PORT, PKI

if TYPE_CHECKING:  # it and gRPC take a while to load
    import etcd3

TIMEOUT = 10  # seconds for one request


class NoAnswer(StepFailed):
    """etcd does not answer. A lost SSH connection cannot be distinguished from an etcd that is down."""


@contextmanager
def client(session: Session) -> "Iterator[etcd3.Etcd3Client]":
    """A client of the site's etcd, closed afterwards. Raises NoAnswer, and StepFailed for an error of etcd."""
    import etcd3  # it and gRPC take a while to load, and few steps use etcd

    vault, master = session.vault, session.master
    pair = vault.pair(f"{PKI}/etcd-client", "etcd's client certificate is issued")
    port = master.forward(ETCD_PORT)
    # python-etcd3 reads certificates from files only; they live in a folder of mode 700 while it does.
    with tempfile.TemporaryDirectory(prefix="airavata-runbook-") as folder:
        files = {"ca_cert": vault.authority().cert, "cert_cert": pair.cert, "cert_key": pair.key}
        paths = {name: str(_write(Path(folder) / name, content)) for name, content in files.items()}
        etcd = etcd3.client(host="127.0.0.1", port=port, timeout=TIMEOUT, **paths)
    try:
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
    finally:
        etcd.close()


def leases(session: Session) -> dict[str, str]:
    """flannel's leases in etcd: public address of a host → its pod subnet ("10.244.5.0/24")."""
    prefix = f"{session.site.network.etcd_prefix}/subnets/"
    with client(session) as etcd:
        return parse_leases([(value, meta.key) for value, meta in etcd.get_prefix(prefix)], prefix)


def parse_leases(entries: Iterable[tuple[bytes, bytes]], prefix: str) -> dict[str, str]:
    """Public address → pod subnet, from the (value, key) pairs in etcd. Raises StepFailed, which names the invalid key."""
    found = {}
    for value, key in entries:
        name = key.decode(errors="replace").removeprefix(prefix)
        try:
            found[str(ip_address(json.loads(value)["PublicIP"]))] = str(ip_network(name.replace("-", "/")))
        except (ValueError, LookupError, TypeError) as error:
            raise StepFailed(
                "invalid lease in etcd",
                where=prefix + name[:100],
                found=value.decode(errors="replace")[:200],
                needed='ADDRESS-PREFIX: {"PublicIP": "ADDRESS", …}',
                remedy="run the same version of flannel on all hosts; delete the key if it is unknown",
            ) from error
    return found


def _write(path: Path, content: bytes) -> Path:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
    return path
