"""What an exercise is made of: commands that break something, goals that say when it is mended, hints, and the solution."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.engine.step import Step
from airavata_runbook.errors import SiteError
from airavata_runbook.hosts.frame import Result
from airavata_runbook.site import Site
from airavata_runbook.site.node import Node

NETCHECK = "-n kube-system -l app.kubernetes.io/name=netcheck"  # kubectl's options for a pod on every host
# kubectl on the master keeps nothing there.
KUBECTL = """export KUBECONFIG=/etc/kubernetes/admin.conf KUBECACHEDIR=$(mktemp -d)
trap 'rm -rf "$KUBECACHEDIR"' EXIT
"""


@dataclass(frozen=True)
class Command:
    """What a person types. host: where, as root; "" wherever kubectl reaches the cluster. script: POSIX shell."""

    host: str
    script: str


@dataclass(frozen=True)
class Goal:
    """A sentence that is true on a whole site. missing: looks at the living cluster; what is wrong, or "" when it is true."""

    sentence: str
    missing: Callable[[], str]


class Lab:
    """The site of an exercise. worker: the first host that is not the master, on which most exercises break something."""

    def __init__(self, site: Site):
        self.site = site
        workers = [node for node in site.nodes if node is not site.master]
        if site.lab is None or not workers:
            raise SiteError(
                "exercises break things on purpose, on a lab of two hosts or more",
                where=f"site {site.name}",
                found="no section lab:, these may be hosts that somebody uses" if site.lab is None else "one host",
                needed="a site file with lab: and a worker, as parameters/lab.yaml",
                remedy="airavata-runbook lab up, and run lab; then do the exercise on the site lab",
            )
        self.master: Node = site.master
        self.worker: Node = workers[0]
        self.namespace = site.airavata.namespace

    @property
    def session(self) -> Session:
        return session_of(self.site)

    def on_master(self, script: str) -> Command:
        return Command(self.master.name, script)

    def on_worker(self, script: str) -> Command:
        return Command(self.worker.name, script)

    def kubectl(self, script: str) -> Command:
        return Command("", script)

    def netcheck(self, node: Node) -> str:
        """kubectl's options for the pod of the network check on a host."""
        return f"{NETCHECK} --field-selector spec.nodeName={node.address}"

    def run(self, command: Command) -> Result:
        """Run it: where it has no host, on the master. Raises HostUnreachable."""
        host = self.session.hosts[command.host or self.master.name]
        return host.run(command.script if command.host else KUBECTL + command.script)


def nothing(lab: Lab) -> Iterator[Command]:
    """No command."""
    yield from ()


@dataclass(frozen=True)
class Task:
    """One exercise.

    breaks: what begins it. goals: what is true when it is mended. look: commands that lead to the cause. hints: three, each
    says more than the one before. cause, solution: what was broken, and the commands that mend it, as the test executes them.
    steps: the runbook's own, which repair it. foreign: removes what the exercise has put there that no step of the runbook may
    touch, a file of somebody else's for example; it may run at any time. component: that the site's stack must have.
    """

    title: str
    breaks: Callable[[Lab], Iterable[Command]]
    goals: Callable[[Lab], Iterable[Goal]]
    look: Callable[[Lab], Iterable[Command]]
    hints: tuple[str, str, str]
    cause: str
    solution: Callable[[Lab], Iterable[Command]]
    steps: tuple[Step, ...]
    foreign: Callable[[Lab], Iterable[Command]] = nothing
    component: str = ""
