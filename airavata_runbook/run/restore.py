"""`airavata-runbook restore SITE FILE`: a site on new hosts, as its backup has it (run/backup.py).

FILE is read to its end and compared with the site file before a host is asked; then the hosts, which must be bare. What follows
are ordinary runs, and between them each part of the backup, before anything starts that reads it:

    01
    master.tar                authorities, keys, passwords and the record of the site: 02 then makes none of them anew
    02
    etcd.db, registry.tar     etcd, the registry and the API server start, no node yet: Airavata's workloads are scaled to 0
    03, 04
    mariadb.sql               into an empty MariaDB that nothing else uses
    05                        scales the workloads up again
    06

From master.tar to the end of 05 a file on the master (life.RESTORING) says so, and any other run is refused: it would start
databases without their data. The same command goes on with a restore that ended on the way. A part that is complete (DONE) is not
done again, others are from their beginning.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from airavata_runbook.chapters import airavata, etcd_flannel, registry
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster import mariadb, readiness, storage_users
from airavata_runbook.cluster.scaling import has_ended, scale
from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.engine.resource import quote
from airavata_runbook.errors import RunbookError, StepFailed
from airavata_runbook.hosts import folder_copy
from airavata_runbook.hosts.folder_copy import Place
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.output import feed
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.kernel_env import RESTORE
from airavata_runbook.resources import Condition, File
from airavata_runbook.resources.etcd_store import DATA
from airavata_runbook.run import database_dump, runner
from airavata_runbook.run.backup import DATABASES, ETCD, MASTER, MASTER_FOLDERS, REGISTRY, watched
from airavata_runbook.run.backup_file import Key
from airavata_runbook.run.kernels import KernelServer
from airavata_runbook.run.page import step_line
from airavata_runbook.run.whole_backup import Backup, examine, refuse_other_site
from airavata_runbook.site import Site, storage
from airavata_runbook.site.life import RECORD, RESTORING
from airavata_runbook.wellknown import PKI, SECRETS

DONE = "/etc/kubernetes/restored"  # on the master: a line for each part that is complete; every reset removes it
# etcd's and the registry's own, and what these need; no kubelet yet, which would start the pods that etcd's snapshot has.
SERVICES = (
    registry.password,
    registry.folders,
    registry.service,
    registry.pull_settings,
    etcd_flannel.etcd_service,
    etcd_flannel.etcd_users,
    etcd_flannel.network_config,
    etcd_flannel.api_server,
)
# As the member that etcd.conf describes. Revisions go far beyond those that a client outside may have seen since the backup, and
# it is told that these are gone (etcd, "Disaster recovery", "Restoring with revision bump").
RESTORE_ETCD = f"""set -e; umask 077
folder=$(mktemp -d /var/lib/airavata-runbook-restore.XXXXXX); trap 'rm -rf "$folder"' EXIT
cat > "$folder/etcd.db"
. /etc/etcd/etcd.conf
mkdir -p {DATA}; rm -rf {DATA}/member {DATA}/restored
etcdutl snapshot restore "$folder/etcd.db" --data-dir {DATA}/restored --name "$ETCD_NAME" \\
    --initial-cluster "$ETCD_INITIAL_CLUSTER" --initial-advertise-peer-urls "$ETCD_INITIAL_ADVERTISE_PEER_URLS" \\
    --bump-revision 1000000000 --mark-compacted
mv {DATA}/restored/member {DATA}/member; rmdir {DATA}/restored
"""
# Each blob is named by its digest (distribution, "registry/storage/paths.go").
RESTORE_REGISTRY = """set -e
mkdir -p {root}/data; find {root}/data -xdev -mindepth 1 -delete
tar -C {root} -x --numeric-owner data
cd {root}/data/docker/registry/v2/blobs/sha256
find . -type f -name data | sed -E 's|^[.]/../([0-9a-f]+)/data$|\\1  &|' | sha256sum -c --quiet
for blob in {blobs}; do test -s $blob || {{ echo "there is no image sha256:$blob"; exit 1; }}; done
"""


def restore(site: Site, path: Path, key: Key, settings: Mapping[str, object] | None = None) -> None:
    """Bring the site back from its backup. settings: the site's fields that `--set` changed, for the records of the runs.

    Raises StepFailed and SiteError before anything is changed for a file that is not whole, of another key or another site, and
    for hosts that have a cluster or data; later StepFailed, SiteError and HostUnreachable, which say how to go on.
    """
    backup = examine(path, key)
    refuse_other_site(site, backup)
    session = session_of(site)
    with session.lock.held("airavata-runbook restore"), KernelServer() as server:
        work = _Restore(session, backup, partial(runner.run, site, settings, server=server), _done(session, backup))
        try:
            work.all()
        finally:
            os.environ.pop(RESTORE, None)


def _done(session: Session, backup: Backup) -> set[str]:
    """The parts that an earlier call has restored. Raises StepFailed for hosts that have a cluster or data of anything else."""
    site, begun = session.site, _run(session.master, f"cat {RESTORING} {DONE} 2>/dev/null; true").splitlines()
    if begun and begun[0] == backup.id:
        print(f"site {site.name}: going on with {backup}; restored so far: {', '.join(begun[1:]) or 'nothing'}")
        return set(begun[1:])
    found = run_parallel(session.hosts.values(), partial(_remains, session))
    for answer in found.values():
        if isinstance(answer, Exception):
            raise answer
    if there := [f"{name}: {', '.join(str(answer).split())}" for name, answer in sorted(found.items()) if answer]:
        raise StepFailed(
            "the hosts have a cluster or data, and a restore overwrites none",
            where=f"site {site.name}",
            found="\n".join(there) + "\na restore of another backup that did not end" * bool(begun),
            needed="bare hosts",
            remedy=f"new hosts at these addresses; or, if nothing of it is needed: airavata-runbook reset {site.name} --data",
        )
    return set()


def _remains(session: Session, host: Host) -> str:
    """The files and folders with content, one a line, that no bare host has."""
    site = session.site
    paths = [PKI, DATA, SECRETS, RECORD, RESTORING]
    paths += [f"{site.registry.root}/data"] * (host is session.registry_host)
    paths += storage.folders(site) if host.node == site.storage_node else []
    full = 'test -f $path || test -n "$(ls -A $path 2>/dev/null | grep -vx lost+found)"'
    return _run(host, f"for path in {quote(*paths)}; do if {full}; then echo $path; fi; done")


@dataclass
class _Restore:
    """run: executes chapters of the site. done: names of the parts that are restored."""

    session: Session
    backup: Backup
    run: Callable[..., object]
    done: set[str]

    @property
    def site(self) -> Site:
        return self.session.site

    def all(self) -> None:
        """The whole restore, in order."""
        self._expect_data()
        self.run(only="01")
        try:
            self._part(MASTER, self._master)
            self.run(only="02")
            self._part(ETCD, self._etcd)
            self._part(REGISTRY, self._registry)
            self._part("services", self._services)
            self.run(start="03", to="04")
            if DATABASES in self.backup.parts:
                self._part(DATABASES, self._databases)
            self._expect_data()
            self.run(only="05")
            _run(self.session.master, f"rm -f {DONE} {RESTORING}")
        except RunbookError as error:
            raise StepFailed("the site is not restored yet", found=str(error), remedy=self._way_on()) from None
        except KeyboardInterrupt:
            print(f"site {self.site.name}: not restored yet; {self._way_on()}")
            raise
        self.run(start="06")
        print(f"site {self.site.name}: restored from {self.backup}")

    def _part(self, name: str, work: Callable[[], None]) -> None:
        if name not in self.done:
            work()
            _run(self.session.master, f"echo {name} >> {DONE}")
            self.done.add(name)

    def _master(self) -> None:
        master, there = self.session.master, self.session.hosts[self.site.storage_node.name]
        _run(master, File(RESTORING, f"{self.backup.id}\n").write_script())
        self._feed(MASTER, master, f"tar -C / -x --numeric-owner {MASTER_FOLDERS}")
        # Whatever ends this restore, no database starts empty by a run.
        _run(there, File(storage.STORED, storage.stored_text(storage.folders(self.site))).write_script())

    def _etcd(self) -> None:
        self._feed(ETCD, self.session.master, RESTORE_ETCD)

    def _registry(self) -> None:
        blobs = quote(*(f"{digest[:2]}/{digest}/data" for digest in self.backup.images))
        self._feed(REGISTRY, self.session.registry_host, RESTORE_REGISTRY.format(root=self.site.registry.root, blobs=blobs))

    def _services(self) -> None:
        """Start what kubelets need, and leave them nothing of Airavata to start."""
        for step in SERVICES:
            self._step(step)
        kube, namespace = self.session.kube(), self.site.airavata.namespace
        for kind in ("deployment", "replica_set", "stateful_set"):
            for one in getattr(kube.apps, f"list_namespaced_{kind}")(namespace).items:
                getattr(kube.apps, f"patch_namespaced_{kind}_scale")(one.metadata.name, namespace, {"spec": {"replicas": 0}})
        for job in kube.batch.list_namespaced_job(namespace).items:
            if not job.status.completion_time:  # it would work on an empty database; 05 makes it anew
                kube.batch.delete_namespaced_job(job.metadata.name, namespace, propagation_policy="Background")
        for pod in kube.core.list_namespaced_pod(namespace).items:
            if not has_ended(pod):  # its host is gone, and nobody else would say that it has ended
                kube.core.delete_namespaced_pod(pod.metadata.name, namespace, grace_period_seconds=0)

    def _databases(self) -> None:
        session, site = self.session, self.site
        place = Place(session.hosts[site.storage_node.name], site.airavata.storage_path, (mariadb.COMPONENT,))
        storage_users.stop(session, site.airavata.namespace, place.folders)
        folder_copy.empty(place)  # of a load that was interrupted
        self._step(airavata.storage)
        self._start_database()
        database_dump.load(session, self._blocks(DATABASES))
        # With the users and settings that were loaded.
        storage_users.stop(session, site.airavata.namespace, place.folders)
        self._start_database()

    def _start_database(self) -> None:
        """Have its one pod, and wait until it answers."""
        namespace = self.site.airavata.namespace
        kind, name = next(one.waits_for[0] for one in stack_of(self.site).components if one.name == mariadb.COMPONENT)
        scale(self.session, kind, namespace, name, 1)
        Condition(
            f"{kind} {name}",
            deadline=300,
            check=partial(readiness.workload_missing, self.session, kind, namespace, name),
            causes=partial(readiness.workload_causes, self.session, kind, namespace, name),
            remedy=f"kubectl -n {namespace} describe {kind.lower()} {name}",
        ).wait(self.session.master)

    def _step(self, step: Callable) -> None:
        print(step_line(step(self.site)), flush=True)

    def _feed(self, part: str, host: Host, script: str) -> None:
        feed(host, script, self._blocks(part))

    def _blocks(self, part: str) -> Iterator[bytes]:
        return watched(part, self.backup.blocks(part), self.backup.parts[part]["bytes"])

    def _expect_data(self) -> None:
        """Say which databases may start with an empty folder, and why."""
        loaded = {mariadb.COMPONENT} if DATABASES in self.done else set()
        coming = {mariadb.COMPONENT} - loaded if DATABASES in self.backup.parts else set()
        folders = {path.rpartition("/")[2]: path for path in storage.folders(self.site)}
        os.environ[RESTORE] = " ".join(path for name, path in folders.items() if name not in loaded)
        for name in sorted(folders.keys() & coming):
            print(f"{name} starts with an empty folder: its data is loaded then")
        if never := sorted(folders.keys() - coming - loaded):
            print(f"no backup has data of {', '.join(never)}: they start with empty folders")

    def _way_on(self) -> str:
        return (
            "give the same command again, and it goes on where it stopped; until then any other run is refused. "
            f"To begin anew: airavata-runbook reset {self.site.name} --data"
        )


def _run(host: Host, script: str) -> str:
    result = host.run(script)
    if result.status:
        raise StepFailed("a command failed on the host", where=f"host {host.name}", found=result.last_lines)
    return result.text
