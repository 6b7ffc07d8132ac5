"""What runs on the hosts, compared by digest with what the site's manifests and containerd's configuration name."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

from airavata_runbook.chapters.site_stack import references
from airavata_runbook.cluster.session import Session
from airavata_runbook.hosts.parallel import run_parallel
from airavata_runbook.resources import Condition

ENDING = 90  # seconds; a database may take 60 (terminationGracePeriodSeconds)

# The image of every sandbox that runs: containerd keeps the name that it had in its configuration when the sandbox started.
SANDBOXES = """running=$(ctr -n k8s.io tasks list | awk '$3 == "RUNNING" {print $1}')
ctr -n k8s.io containers list 'labels."io.cri-containerd.kind"==sandbox' | grep -F "$running" | awk '{print $2}'"""


def running_images(session: Session, namespaces: list[str]) -> tuple[list[list[str]], list[str]]:
    """(rows of image, digest and number of containers that run it; lines for containers that run something else)."""
    Condition("replaced pods to end", check=lambda: _ending(session, namespaces), deadline=ENDING).wait(session.master)
    named = references(session)
    found: Counter[str] = Counter()  # by reference
    problems = []
    for namespace in namespaces:
        for pod in session.kube().core.list_namespaced_pod(namespace).items:
            for container, image, runs in _containers(pod):
                found[image] += 1
                if image not in named.values() or runs.rpartition("@")[2] != image.rpartition("@")[2]:
                    problems.append(
                        f"{namespace}/{pod.metadata.name}: {container} is named {image} and runs {runs}: run 05-deploy-airavata, "
                        f"or kubectl -n {namespace} delete pod {pod.metadata.name}"
                    )
    pauses = f"{session.site.registry_address}/pause@sha256:"  # an earlier one runs until its pod is replaced
    for host, printed in sorted(run_parallel(session.hosts.values(), lambda host: host.run(SANDBOXES).text).items()):
        if isinstance(printed, Exception):
            raise printed
        for image in printed.split():
            found[image] += 1
            if not image.startswith(pauses):
                problems.append(f"{host}: a sandbox runs {image}, needed: {pauses}…: run 02 and 03, then delete its pod")
    return [[_name(image), image.partition("@")[2], str(number)] for image, number in sorted(found.items())], problems


def _ending(session: Session, namespaces: list[str]) -> str:
    """The pods that are being deleted; "" when there are none."""
    pods = [pod for one in namespaces for pod in session.kube().core.list_namespaced_pod(one).items]
    return ", ".join(pod.metadata.name for pod in pods if pod.metadata.deletion_timestamp)


def _name(image: str) -> str:
    """NAME of HOST/NAME:TAG@DIGEST."""
    return image.partition("@")[0].partition("/")[2].partition(":")[0]


def _containers(pod: Any) -> Iterator[tuple[str, str, str]]:
    """(name, image that the manifest names, image that runs) of every container of a pod that has started."""
    named = {box.name: box.image for box in [*(pod.spec.init_containers or ()), *pod.spec.containers]}
    for status in [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]:
        if status.image_id:
            yield status.name, named[status.name], status.image_id
