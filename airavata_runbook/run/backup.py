"""`airavata-runbook backup SITE -o FILE`: everything that cannot be made anew, in one encrypted file (format: backup_file.py).

The parts, each as it streams from its host; on this machine nothing is written but the encrypted file:

    etcd.db           etcd's snapshot, by etcdctl on the master: the objects of the cluster, flannel's leases
    master.tar        the master's /etc/airavata-runbook and /etc/kubernetes/pki: record, secrets, authorities, keys, certificates
    mariadb.sql       all databases with their users, by mariadb-dump --single-transaction in the database's pod
    registry.tar      the registry's folder `data`, on its host: the images

Not in it: the queues of RabbitMQ and what ZooKeeper knows, which Airavata's servers make anew when they start.
"""

import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.etcd import ETCDCTL
from airavata_runbook.cluster.mariadb import database_of
from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.errors import SiteError
from airavata_runbook.hosts.output import output
from airavata_runbook.hosts.vault import external_secret
from airavata_runbook.local.terminal import size_text
from airavata_runbook.run import backup_file
from airavata_runbook.run.backup_file import Key, Lock
from airavata_runbook.site import Site
from airavata_runbook.site.life import LOOK, no_cluster, parse_look
from airavata_runbook.wellknown import PKI

SECONDS = 5  # between two lines of progress
ETCD, MASTER, DATABASES, REGISTRY = "etcd.db", "master.tar", "mariadb.sql", "registry.tar"  # the parts
MASTER_FOLDERS = f"etc/airavata-runbook {PKI.lstrip('/')}"
# etcd's data is on this disk too; nobody but root can read the folder.
SNAPSHOT = f"""set -e; umask 077
folder=$(mktemp -d /var/lib/airavata-runbook-backup.XXXXXX); trap 'rm -rf "$folder"' EXIT
{ETCDCTL} endpoint health >&2  # snapshot save waits without an end for an etcd that has stopped
{ETCDCTL} snapshot save "$folder/etcd.db" >&2
cat "$folder/etcd.db"
"""


def backup(site: Site, path: Path, lock: Lock) -> None:
    """Write a backup of the site. Raises SiteError before anything is done; StepFailed and HostUnreachable when a part fails.

    The lock of the site is held meanwhile, so that no run changes anything.
    """
    session = session_of(site)
    state, _ = parse_look(session.master.run(LOOK).text)
    if missing := no_cluster(state, site, "to back up"):
        raise missing
    about = {"site": site.name, "made": datetime.now(UTC).isoformat(timespec="seconds"), "runbook": version("airavata-runbook")}
    with session.lock.held("airavata-runbook backup"):
        backup_file.write(path, lock, about, ((name, watched(name, blocks)) for name, blocks in _parts(session)))
    print(f"site {site.name}: backed up to {path}, {size_text(path.stat().st_size)}")


def verify(path: Path, key: Key) -> None:
    """Read a backup to its end and print what it has. Raises StepFailed for one that was cut or altered, or has another key."""
    about, parts = backup_file.verify(path, key)
    print(f"{path}: site {about['site']}, made {about['made']} by airavata-runbook {about['runbook']}: whole")
    for name, one in parts.items():
        print(f"  {name}: {size_text(one['bytes'])}, sha256 {one['sha256']}")


def _parts(session: Session) -> Iterator[tuple[str, Iterator[bytes]]]:
    site, master = session.site, session.master
    yield ETCD, output(master, SNAPSHOT)
    yield MASTER, output(master, f"tar -C / -c {MASTER_FOLDERS}")
    if database := database_of(stack_of(site)):
        yield DATABASES, database.dump(master)
    yield REGISTRY, output(session.registry_host, f"tar -C {site.registry.root} -c data")


def watched(name: str, blocks: Iterable[bytes], total: int = 0) -> Iterator[bytes]:
    """The blocks, while it is printed how far they are. total: of all of them in bytes, where it is known."""
    done, shown, whole = 0, time.monotonic(), f" of {size_text(total)}" if total else ""
    for block in blocks:
        done += len(block)
        if time.monotonic() - shown > SECONDS:
            shown = time.monotonic()
            print(f"{name}: {size_text(done)}{whole}", flush=True)
        yield block
    print(f"{name}: {size_text(done)}", flush=True)


def passphrase_lock(reference: str) -> Lock:
    """The lock for a passphrase, which is asked for twice, as nobody can correct a typing error later. Raises SiteError."""
    passphrase = _passphrase(reference)
    if reference.startswith("prompt:") and external_secret("prompt:again") != passphrase:
        raise SiteError("the passphrase was not entered twice the same", remedy="enter it again")
    return Lock(passphrase=passphrase)


def key_for(identity: str | None, passphrase: str | None) -> Key:
    """What decrypts a backup: the private key in a file, or the passphrase that a reference names. Raises SiteError."""
    return backup_file.key_of(Path(identity)) if identity else Key(passphrase=_passphrase(passphrase or ""))


def _passphrase(reference: str) -> str:
    if reference.partition(":")[0] not in ("prompt", "env", "file", "keyring"):  # not shown: it may be the passphrase itself
        raise SiteError("--passphrase takes a reference", needed="prompt:TEXT, env:NAME, file:PATH or keyring:NAME")
    return external_secret(reference)
