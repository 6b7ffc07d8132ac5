"""flanneld of one host looks below another key of etcd than all others: it finds no network there, and may not even look."""

from collections.abc import Iterator

from airavata_runbook.chapters import etcd_flannel, install
from airavata_runbook.cluster.etcd import ETCDCTL
from airavata_runbook.exercises import goals
from airavata_runbook.exercises.task import Command, Goal, Lab, Task

SETTINGS = "/etc/sysconfig/flanneld"
OTHER = "/coreos.com/network"  # flannel's own default (flannel, Documentation/configuration.md, -etcd-prefix)


def _set(prefix: str) -> str:
    return f"""sed -i 's#^FLANNEL_ETCD_PREFIX=.*#FLANNEL_ETCD_PREFIX="{prefix}"#' {SETTINGS}"""


def breaks(lab: Lab) -> Iterator[Command]:
    yield lab.on_worker(f"{_set(OTHER)}; systemctl restart --no-block flanneld")


def aims(lab: Lab) -> Iterator[Goal]:
    prefix = lab.site.network.etcd_prefix
    look = f"grep -Eq '^FLANNEL_ETCD_PREFIX=\"?{prefix}\"?$' {SETTINGS} || {{ grep ^FLANNEL_ETCD_PREFIX {SETTINGS}; false; }}"
    yield goals.true_on(lab, lab.worker, f"flanneld on {lab.worker.name} is told the site's key in etcd", look)
    yield goals.service_runs(lab, lab.worker, "flanneld")
    yield goals.leases_match(lab)


def look(lab: Lab) -> Iterator[Command]:
    yield lab.on_worker("systemctl status --no-pager -n 0 flanneld; journalctl --no-pager -u flanneld -n 6")
    yield lab.on_master(f"etcd='{ETCDCTL}'\n$etcd get / --prefix --keys-only | grep network\n$etcd role get flannel")
    for name in (lab.master.name, lab.worker.name):
        yield Command(name, f"grep -v '^#' {SETTINGS}")


def solution(lab: Lab) -> Iterator[Command]:
    yield lab.on_worker(
        f"{_set(lab.site.network.etcd_prefix)}\nsystemctl restart flanneld",
    )


TASK = Task(
    title="A host that went its own way",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "Everything seems to work, because interface and routes are still there. Which service of the worker does not run?",
        "journalctl -u flanneld says what etcd answers. What may flannel read there (etcdctl role get flannel), and what does "
        "this flanneld ask for?",
        f"FLANNEL_ETCD_PREFIX in {SETTINGS} is another one than on the master. Write the site's there, and restart flanneld.",
    ),
    cause=f"{SETTINGS} on the worker names {OTHER}, the default of flannel, instead of this site's key. etcd lets flannel read "
    "below the site's key only, so flanneld is refused, and its start never ends. Running pods go on, as the kernel has their "
    "routes; after a restart of the host they would not.",
    solution=solution,
    steps=(install.host_files, etcd_flannel.pod_network),
)
