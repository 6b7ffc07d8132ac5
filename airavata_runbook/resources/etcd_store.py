"""etcd's data: an etcd that ran before must not start with an empty store."""

from dataclasses import dataclass

from airavata_runbook.engine.resource import Change, Context, Found, quote
from airavata_runbook.errors import StepFailed
from airavata_runbook.footprint import Footprint

DATA = "/var/lib/etcd"
INITIALIZED = "/etc/etcd/initialized"  # written once etcd answers; a reset removes it


@dataclass(frozen=True)
class EtcdStore:
    """Changes nothing: it fails where etcd has run (INITIALIZED exists) and its data is gone.

    etcd itself would silently begin with an empty store, and the cluster with it: a replaced disk or a removed folder.
    """

    label = f"etcd's data in {DATA}"

    def footprint(self) -> Footprint:
        return ()

    def probe(self) -> str:
        return f"test -e {quote(INITIALIZED)} && echo initialized; test -d {quote(DATA)}/member && echo data; true"

    def change(self, found: Found, context: Context) -> Change | None:
        if found.text.split() == ["initialized"]:
            raise StepFailed(
                "etcd's data is gone: etcd would start with an empty store, without any object of the cluster",
                where=f"{context.host.name}, {DATA}",
                found=f"no {DATA}/member, though etcd has run ({INITIALIZED})",
                needed="the data, or a decision to begin anew",
                remedy=f"restore a snapshot (etcdutl snapshot restore FILE --data-dir {DATA}); or, to begin with an empty "
                f"cluster: airavata-runbook reset {context.session.site.name}, which keeps images and databases, and run again",
            )
        return None
