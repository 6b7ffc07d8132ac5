"""Faults that only somebody's act mends: a wait for them ends long before its deadline, and its message has the cause whole."""

import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Event

import pytest
import yaml

from airavata_runbook.cluster import readiness
from airavata_runbook.cluster.session import Session, session_of
from airavata_runbook.errors import StepFailed
from airavata_runbook.resources import Condition
from airavata_runbook.site import Site
from tests.full_picture import kubectl, over_ssh
from tests.site.conftest import runbook

NAMESPACE = "broken"
DEADLINE, SERVICE_DEADLINE = 180, 60  # seconds, of pods and of a service in the chapters
PROBE_DEADLINE = 40  # seconds, of a pod whose probe fails: nothing else ends that wait
VISIBLE, SLACK = 15, 10  # seconds within which a cause that can be seen must be shown; more of them for a loaded machine
VOLUME = [{"name": "v", "persistentVolumeClaim": {"claimName": "(its name)"}}]
# Deployment, or StatefulSet where it has a claim, → its container, or its pods' other fields; and what the message must have.
FAULTS: dict[str, tuple[dict, dict, str]] = {
    "crash": (
        {"command": ["sh", "-c", "echo cannot open table; exit 3"], "readinessProbe": {"tcpSocket": {"port": 1}}},
        {},
        r"status 3(?s:.*)last events of the pod(?s:.*)last lines of its log(?s:.*)cannot open",
    ),
    "oom": (
        {
            "command": ["sh", "-c", "echo filling; tail /dev/zero"],
            "resources": {"limits": {"memory": "12Mi"}},
            "readinessProbe": {"tcpSocket": {"port": 1}},
        },
        {},
        r"OOMKilled\); it needs more memory than its limit, which is 12Mi(?s:.*)filling",
    ),
    "liveness": (
        {
            "livenessProbe": {"tcpSocket": {"port": 1}, "periodSeconds": 1, "failureThreshold": 1},
            "readinessProbe": {"tcpSocket": {"port": 1}},
        },
        {},
        r"Liveness probe failed: dial tcp .*:1: connect: connection refused",
    ),
    "probe": ({"readinessProbe": {"tcpSocket": {"port": 1}}}, {}, r"Readiness probe failed: dial tcp .*:1: connect"),
    "image": ({"image": "registry.lab:5000/toolbox:none"}, {}, r"failed to resolve image: .*/toolbox:none: not found"),
    "secret": (
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]},
        {},
        r'CreateContainerConfigError: secrets? "none" not found',
    ),
    "memory": ({"resources": {"requests": {"memory": "999Gi"}}}, {}, r"\d Insufficient memory.*Preemption is not helpful"),
    "selector": ({}, {"nodeSelector": {"no": "such"}}, r"didn't match Pod's node affinity/selector"),
    "mount": ({}, {"volumes": [{"name": "v", "secret": {"secretName": "none"}}]}, r'for volume "v" : secrets? "none" not found'),
    "account": ({}, {"serviceAccountName": "none"}, r'serviceaccount "none" not found'),
    "unclaimed": ({}, {"volumes": VOLUME}, r'persistentvolumeclaim "unclaimed" not found'),
    "reserved": ({}, {"volumes": VOLUME}, r"claim reserved is Pending: .*already bound to a different claim"),
    "elsewhere": ({}, {"volumes": VOLUME}, r"(?s)node affinity.*volume broken-elsewhere is Bound.*hostname in 192.0.2.9"),
    "folder": ({}, {"volumes": VOLUME}, r'path "/srv/no-such-folder" does not exist'),
}
# StatefulSet with a claim of its name → the claim that its volume is for, the volume's folder, and the host; "" for a real one.
VOLUMES = {
    "reserved": ("another", "/tmp", ""),
    "elsewhere": ("elsewhere", "/tmp", "192.0.2.9"),
    "folder": ("folder", "/srv/no-such-folder", ""),
}


def worker(site: Site) -> str:
    return next(node.name for node in site.nodes if node is not site.master)


def kind(name: str) -> str:
    return "StatefulSet" if FAULTS[name][1].get("volumes") is VOLUME else "Deployment"


def volume_and_claim(name: str, host: str) -> list[dict]:
    claim, path, elsewhere = VOLUMES[name]
    common = {"storageClassName": "", "accessModes": ["ReadWriteOncePod"]}
    rule = {"key": "kubernetes.io/hostname", "operator": "In", "values": [elsewhere or host]}
    volume = {
        **common,
        "capacity": {"storage": "1Mi"},
        "local": {"path": path},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}},
        "claimRef": {"namespace": NAMESPACE, "name": claim},
    }
    metadata = {"name": f"{NAMESPACE}-{name}", "labels": {"of": NAMESPACE}}
    wanted = {**common, "volumeName": f"{NAMESPACE}-{name}", "resources": {"requests": {"storage": "1Mi"}}}
    return [
        {"apiVersion": "v1", "kind": "PersistentVolume", "metadata": metadata, "spec": volume},
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": NAMESPACE},
            "spec": wanted,
        },
    ]


def workload(name: str, image: str) -> dict:
    box, pod, _ = FAULTS[name]
    labels = {"app": name}
    if kind(name) == "StatefulSet":
        pod = {"volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": name}}]}
    mounts = [{"name": volume["name"], "mountPath": "/v"} for volume in pod.get("volumes", [])]
    spec = {"containers": [{"name": "box", "image": image, "volumeMounts": mounts, **box}], **pod}
    spec["imagePullSecrets"] = [{"name": "registry"}]
    template = {"metadata": {"labels": labels}, "spec": spec}
    return {
        "apiVersion": "apps/v1",
        "kind": kind(name),
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"replicas": 1, "selector": {"matchLabels": labels}, "template": template},
    }


# It keeps nothing on the host.
KUBECTL = 'export KUBECONFIG=/etc/kubernetes/admin.conf; kubectl() { command kubectl --cache-dir /tmp/kubectl "$@"; }\n'


@dataclass
class Waited:
    """A wait that ended with an error. Times in seconds since it began.

    shown: the first notice of a cause, or the end. visible: Kubernetes has an event that warns of it.
    """

    error: StepFailed
    ended: float
    shown: float
    notices: list[str]
    visible: float = 0.0


def note_warnings(session: Session, seen: dict[str, float], stop: Event) -> None:
    """Deployment → when Kubernetes first had a warning of it or of what belongs to it."""
    while not stop.wait(0.3):
        for event in session.kube().core.list_namespaced_event(NAMESPACE, field_selector="type=Warning").items:
            if event.reason != "FailedToRetrieveImagePullSecret":  # the account's own; the image is there
                seen.setdefault(event.involved_object.name.partition("-")[0], time.monotonic())


@pytest.fixture(scope="module")
def waited(site, first) -> Iterator[dict[str, Waited]]:
    """Workload → how its wait ended; all are awaited at once."""
    session = session_of(site)
    image = kubectl(site, "-n kube-system get daemonset netcheck -o jsonpath='{.spec.template.spec.containers[0].image}'").strip()
    host = str(site.node(worker(site)).address)
    volumes = [one for name in VOLUMES for one in volume_and_claim(name, host)]
    objects = yaml.safe_dump_all([*volumes, *(workload(name, image) for name in FAULTS)])
    commands = (
        f"kubectl create namespace {NAMESPACE}; kubectl -n kube-system get secret registry -o yaml | "
        f"sed 's/namespace: kube-system/namespace: {NAMESPACE}/' | kubectl apply -f -\n"
        f"kubectl apply -f - <<'END'\n{objects}\nEND"
    )
    over_ssh(site, site.master.name, f"{KUBECTL}{commands}")

    def wait(name: str) -> Waited:
        what = (session, kind(name), NAMESPACE, name)
        check, causes = partial(readiness.workload_missing, *what), partial(readiness.workload_causes, *what)
        notices: list[tuple[float, str]] = []
        deadline = PROBE_DEADLINE if name == "probe" else DEADLINE
        started = time.monotonic()
        with pytest.raises(StepFailed) as caught:
            Condition(f"{kind(name)} {name}", check=check, causes=causes, deadline=deadline).wait(
                session.master, lambda text: notices.append((time.monotonic() - started, text))
            )
        ended = time.monotonic() - started
        return Waited(caught.value, ended, notices[0][0] if notices else ended, [text for _, text in notices], started)

    warned: dict[str, float] = {}
    stop = Event()
    with ThreadPoolExecutor(len(FAULTS) + 1) as threads:
        watching = threads.submit(note_warnings, session, warned, stop)
        try:
            found = dict(zip(FAULTS, threads.map(wait, FAULTS), strict=True))
        finally:
            stop.set()
    watching.result()
    for name, one in found.items():
        one.visible = warned[name] - one.visible
    yield found
    kubectl(site, f"-n {NAMESPACE} delete deployments,statefulsets --all")
    kubectl(site, f"-n {NAMESPACE} delete pods --all --force --grace-period=0 --wait=false")
    kubectl(site, f"delete namespace {NAMESPACE} --timeout=60s")
    kubectl(site, f"delete persistentvolumes -l of={NAMESPACE}")


@pytest.mark.parametrize("name", FAULTS)
def test_a_workload_that_cannot_become_ready_ends_its_wait_with_the_cause(waited, name):
    one = waited[name]
    assert re.search(FAULTS[name][2], one.error.found), one.error
    if name == "probe":  # a server may take its time to start: the wait goes on, and has said why
        return
    assert one.ended < DEADLINE / 3, f"{one.ended:.0f} s: {one.error}"
    assert "kubectl -n broken" in one.error.remedy and one.error.needed


@pytest.mark.parametrize("name", FAULTS)
def test_its_cause_is_shown_soon_after_kubernetes_has_it(waited, name):
    one = waited[name]
    assert one.shown - one.visible < VISIBLE + SLACK, one
    assert all(re.search(FAULTS[name][2], text) or name == "crash" for text in one.notices), one.notices
    assert name != "probe" or one.notices


@contextmanager
def broken(site: Site, host: str, script: str, mend: str) -> Iterator[None]:
    over_ssh(site, host, script)
    try:
        yield
    finally:
        over_ssh(site, host, mend)


def failed_run(site_file: str, chapter: str) -> tuple[int, str]:
    """The seconds after which the run says that its wait ended, and its message."""
    done = runbook("run", site_file, "--from", chapter, "--to", chapter)
    assert done.returncode == 1, done.stdout + done.stderr
    ended = re.search(r"the wait ended after (\d+) s", done.stderr)
    assert ended, done.stderr
    return int(ended[1]), done.stderr


def test_a_kubelet_whose_port_is_taken_ends_the_run_with_its_own_error(first, site_file, site):
    take = "systemctl stop kubelet; systemd-run --quiet --unit=taken socat TCP-LISTEN:10250,fork,reuseaddr -"
    with broken(site, worker(site), take, "systemctl stop taken; systemctl reset-failed kubelet taken; systemctl start kubelet"):
        seconds, error = failed_run(site_file, "03")
    assert "listen tcp" in error and "10250: bind: address already in use" in error and "service kubelet on" in error, error
    assert seconds < SERVICE_DEADLINE / 3, error


def test_a_foreign_pod_network_ends_the_run_with_the_plugins_message_and_the_configuration(first, site_file, site):
    """As an earlier cluster leaves it; a check finds it at the first look, unless it comes later (TRUST 22)."""
    content = '{"cniVersion": "1.0.0", "name": "old", "plugins": [{"type": "calico", "log_level": "info"}]}'
    write = f"echo '{content}' > /etc/cni/net.d/05-old.conflist"
    with broken(site, worker(site), write, "rm /etc/cni/net.d/05-old.conflist"):
        address = site.node(worker(site)).address
        which = f"-l app.kubernetes.io/name=netcheck --field-selector spec.nodeName={address}"
        time.sleep(2)  # containerd reads the folder when it changes
        kubectl(site, f"-n kube-system delete pod --wait=false {which}")
        seconds, error = failed_run(site_file, "04")
    assert re.search(r'failed to find plugin \\?"calico\\?" in path', error) and content in error, error
    assert "05-old.conflist 10-airavata.conflist" in error and seconds < DEADLINE / 3, error


def test_the_site_is_whole_again(first, site_file, site):
    done = runbook("run", site_file, "--from", "03", "--to", "04")
    assert done.returncode == 0, done.stdout + done.stderr
