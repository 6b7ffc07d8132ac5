"""The databases of a site as SQL: all of them out of the database's pod as a stream, and back into it.

kubectl runs on the master, and MariaDB's client in the pod. The password reaches the client through a pipe, so that it is in
no process list, no file and no environment.
"""

import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain

from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.output import feed, output
from airavata_runbook.stacks import Stack

COMPONENT = "mariadb"  # of a stack
START, END = (b"-- MariaDB dump", b"/*M!"), b"-- Dump completed"  # the second: the sandbox mode, in the first line since 10.11.8
AS_ROOT = """set -e -o pipefail
as_root() { "$@" 3<<SETTINGS
[client]
socket=/run/mysqld/mysqld.sock
user=root
password=$(cat /etc/airavata/secrets/root-password)
SETTINGS
}
"""
CLIENT = "as_root mariadb --defaults-file=/dev/fd/3"
DUMP = f"""{AS_ROOT}
as_root mariadb-dump --defaults-file=/dev/fd/3 --single-transaction --quick --all-databases --routines --events --triggers \
    --hex-blob
"""
# What the dump does not know (a table or a database that is newer) would stay: all databases but MariaDB's own go first.
LOAD = f"""{AS_ROOT}
drop=$({CLIENT} -N -r -e 'SELECT CONCAT("DROP DATABASE `", REPLACE(schema_name, "`", "``"), "`;")
    FROM information_schema.schemata
    WHERE schema_name NOT IN ("mysql", "sys", "information_schema", "performance_schema")' < /dev/null)
{CLIENT} -e "SET FOREIGN_KEY_CHECKS = 0; $drop" < /dev/null
{CLIENT}
{CLIENT} -e 'FLUSH PRIVILEGES' < /dev/null
"""


@dataclass(frozen=True)
class Database:
    """MariaDB in the cluster. kind, name: of its workload, whose container has the same name."""

    namespace: str
    kind: str
    name: str

    @property
    def pod(self) -> str:
        """As kubectl takes it: of a StatefulSet its one pod, of another workload any."""
        return f"{self.name}-0" if self.kind == "StatefulSet" else f"{self.kind.lower()}/{self.name}"

    def dump(self, master: Host) -> Iterator[bytes]:
        """All databases with their users, as of one moment, while they are used.

        Raises StepFailed when the client fails, and for a dump that does not end as a complete one does.
        """
        return _complete(output(master, self._in_pod(DUMP)), f"host {master.name}")

    def load(self, master: Host, blocks: Iterable[bytes]) -> None:
        """Have the databases and users of a dump, and no other databases. Nothing may use them meanwhile.

        Raises StepFailed, before anything is changed, for what is no dump; when the client refuses a statement, with what it
        says; and for a dump that is cut: the databases have then what came before.
        """
        where = f"pod {self.pod}"
        rest = iter(blocks)
        first = next(rest, b"")
        if not first.startswith(START):
            raise StepFailed("this is no dump of MariaDB: nothing was changed", where=where, found=repr(first[:80]))
        try:
            feed(master, self._in_pod(LOAD), _complete(chain([first], rest), where))
        except StepFailed as error:
            error.remedy = error.remedy or "the databases are not whole now: load a dump that is"
            raise

    def _in_pod(self, script: str) -> str:
        return f"""cache=$(mktemp -d); trap 'rm -rf "$cache"' EXIT
kubectl --cache-dir $cache --kubeconfig /etc/kubernetes/admin.conf -n {self.namespace} \
    exec --pod-running-timeout=10s -i {self.pod} -c {self.name} -- bash -c {shlex.quote(script)}"""


def database_of(stack: Stack) -> Database | None:
    """The database of a site's stack; None where it has none."""
    for component in stack.components:
        if component.name == COMPONENT:
            return Database(stack.namespace, *component.waits_for[0])
    return None


def _complete(blocks: Iterable[bytes], where: str) -> Iterator[bytes]:
    """A dump as it comes. Raises StepFailed for one that does not end as a complete one does."""
    end = b""
    for block in blocks:
        end = (end + block)[-200:]
        yield block
    if END not in end:
        raise StepFailed("the dump of the databases is incomplete", where=where, found=repr(end[-80:]))
