"""A disk that is full: pods that run go on, and no new one gets an address.

The disk is a file system of 512 KiB in memory, mounted where CNI notes the addresses that it has given, with what was there;
so nothing of the machine's own disk is used.
"""

from collections.abc import Iterator

from airavata_runbook.chapters import registry
from airavata_runbook.exercises import goals
from airavata_runbook.exercises.task import NETCHECK, Command, Goal, Lab, Task

FOLDER = "/var/lib/cni"
UNIT, FILE = "debug-trace", f"{FOLDER}/trace.log"
SYSTEM = "kube-system"
# What is there is copied to a file system in memory, and back.
MOUNT = f"""set -e
kept=$(mktemp -d)
cp -a {FOLDER}/. $kept
mount -t tmpfs -o size=512k,mode=755 small-disk {FOLDER}
cp -a $kept/. {FOLDER}
rm -r $kept
"""
# It appends whatever fits, so that a block that a pod gives back is taken at once; for an hour at most.
FILL = f"""systemd-run --quiet --collect --unit={UNIT} -p RuntimeMaxSec=3600 sh -c '
exec 2> /dev/null; while :; do printf "%4096s" >> {FILE} || sleep 0.1; done'
until test "$(df --output=avail {FOLDER} | tail -n 1)" -eq 0; do sleep 0.1; done
"""
UNMOUNT = f"""systemctl stop {UNIT} 2> /dev/null || true
rm -f {FILE}
mountpoint -q {FOLDER} || exit 0
set -e
kept=$(mktemp -d)
cp -a {FOLDER}/. $kept
umount {FOLDER}
find {FOLDER} -mindepth 1 -delete
cp -a $kept/. {FOLDER}
rm -r $kept
"""


def breaks(lab: Lab) -> Iterator[Command]:
    yield lab.on_worker(MOUNT + FILL)
    yield lab.kubectl(f"kubectl delete pods {lab.netcheck(lab.worker)}")


def aims(lab: Lab) -> Iterator[Goal]:
    free = f"df --output=avail,target {FOLDER} | tail -n 1 | {{ read -r free on"
    free += "; test $free -gt 16 || { echo $on is full; false; }; }"
    yield goals.true_on(lab, lab.worker, f"the file system of {FOLDER} on {lab.worker.name} has room", free)
    yield goals.workload_ready(lab, "DaemonSet", SYSTEM, "netcheck")


def look(lab: Lab) -> Iterator[Command]:
    yield lab.kubectl(
        f"kubectl get pods {NETCHECK} -o wide\n"
        f"kubectl -n {SYSTEM} describe $(kubectl get pods {lab.netcheck(lab.worker)} -o name) | sed -n '/^Events/,$p'"
    )
    yield lab.on_worker(
        f"""\
journalctl --no-pager -u kubelet -n 50 | grep CreatePodSandbox | tail -n 2
df -h / {FOLDER}
du -a {FOLDER} | sort -n | tail -n 5
for process in /proc/[0-9]*; do grep -sl trace.log $process/cmdline; done"""
    )


def solution(lab: Lab) -> Iterator[Command]:
    yield lab.on_worker(f"systemctl stop {UNIT}\nrm {FILE}")
    yield lab.kubectl(f"kubectl delete pods {lab.netcheck(lab.worker)}")


TASK = Task(
    title="A host that starts no pod any more",
    breaks=breaks,
    goals=aims,
    look=look,
    hints=(
        "The node is Ready and its old pods run; only a new one stays in ContainerCreating. Its events say what fails.",
        f"'no space left on device': df / shows plenty. See which file system the path in the message is on: df -h {FOLDER}",
        f"{FILE} takes all of it, and grows again when it is removed: a program writes it. Find it in /proc/*/cmdline, and its "
        f"unit with systemctl status PID; stop the unit {UNIT}, then remove the file.",
    ),
    cause=f"A program that somebody forgot, the unit {UNIT}, fills the file system of {FOLDER}, where containerd and the CNI "
    "plugin host-local keep a small file for every address that a pod has. Where it cannot be written a new pod gets no "
    "address, so no sandbox, and waits.",
    solution=solution,
    steps=(registry.system_pods,),
    foreign=lambda lab: [lab.on_worker(UNMOUNT)],
)
