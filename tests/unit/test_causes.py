"""Why something awaited has not come: what is made of real objects and logs of broken workloads, services and nodes.

fixtures/broken_workloads.json and the .txt files were recorded on lab hosts (Kubernetes 1.36.3), a minute after each fault.
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from types import SimpleNamespace

import pytest
from kubernetes.client import ApiClient, V1DeploymentStatus

from airavata_runbook.cluster import host_causes, pod_causes, readiness
from airavata_runbook.cluster.causes import LINES, RULES, Cause, Patience
from airavata_runbook.cluster.kube import ApiError
from airavata_runbook.cluster.objects import FIELD_MANAGER
from airavata_runbook.cluster.retry import MANAGER, try_again
from airavata_runbook.errors import HostUnreachable, StepFailed
from airavata_runbook.resources import Condition, Service
from airavata_runbook.resources.condition import LOOK

FIXTURES = Path(__file__).parent / "fixtures"
RECORDED = json.loads((FIXTURES / "broken_workloads.json").read_text())
LOG = "connecting\nfatal: cannot open table gateway\n"
NO_NETWORK = (
    'Failed to create pod sandbox: rpc error: code = Unknown desc = failed to setup network for sandbox "29e9": plugin '
    'type="calico" failed (add): failed to find plugin "calico" in path [/opt/cni/bin]'
)


def typed(kind: str, one: dict):
    return ApiClient().deserialize(json.dumps(one), kind, "application/json")


def listed(kind: str, items: list[dict]):
    return lambda namespace, **selector: typed(f"V1{kind}List", {"items": selected(items, **selector)})


def selected(items: list[dict], label_selector: str = "", field_selector: str = "") -> list[dict]:
    key, _, value = (label_selector or field_selector).partition("=")
    if field_selector:
        return [one for one in items if one["involvedObject"]["uid"] == value]
    return [one for one in items if one["metadata"].get("labels", {}).get(key) == value]


def recorded_session(pods: list[dict], events: list[dict], ready: bool = True, hosts: dict | None = None):
    """A session whose API server has the recorded objects and a node for each pod."""
    conditions = [{"type": "Ready", "status": "True" if ready else "Unknown", "message": "Kubelet stopped posting node status."}]
    core = SimpleNamespace(
        list_namespaced_pod=listed("Pod", pods),
        list_namespaced_event=lambda namespace, field_selector: typed(
            "CoreV1EventList", {"items": selected(events, field_selector=field_selector)}
        ),
        read_namespaced_pod_log=lambda *where, **which: LOG,
        read_node=lambda name: typed("V1Node", {"status": {"conditions": conditions}}),
    )
    apps = SimpleNamespace(list_namespaced_replica_set=listed("ReplicaSet", RECORDED["replica_sets"]))
    registry = a_host(journal="ActiveState=active\nNRestarts=0\n\n")
    return SimpleNamespace(kube=lambda: SimpleNamespace(core=core, apps=apps), hosts=hosts or {}, registry_host=registry)


def causes_of(name: str, pods=None, events=None, **options) -> list[Cause]:
    live = typed("V1Deployment", next(one for one in RECORDED["deployments"] if one["metadata"]["name"] == name))
    session = recorded_session(pods or RECORDED["pods"], events or RECORDED["events"], **options)
    return pod_causes.workload_causes(session, "Deployment", live)


@pytest.mark.parametrize(
    ("name", "kind", "tries", "words"),
    [
        ("notfound", "image not pulled", 3, ["ErrImagePull after 3 pulls", "none: not found", "secrets (registry)"]),
        ("crash", "container exits", 4, ["exited 4 times, last with status 3 (Error)", "fatal: cannot open table gateway",
                                         "last events of the pod:", "BackOff (3 times): Back-off restarting failed"]),
        ("oom", "container exits", 4, ["status 137 (OOMKilled); it needs more memory than its limit"]),
        ("liveness", "container exits", 5, ["exited 5 times", "Liveness probe failed", "connect: connection refused"]),
        ("badcommand", "container exits", 4, ['stat /no/such: no such file or directory']),
        ("config", "container refused", 0, ['CreateContainerConfigError: secret "none" not found']),
        ("invalid", "container refused", 0, ["InvalidImageName", "must be lowercase"]),
        ("memory", "pod not scheduled", 0, ["2 Insufficient memory", "Preemption is not helpful for scheduling."]),
        ("mount", "volume not mounted", 0, ['MountVolume.SetUp failed for volume "s" : secret "none" not found']),
        ("probe", "container not ready", 0, ["Readiness probe failed", "connect: connection refused", "fatal: cannot open"]),
        ("evicted", "pod failed", 4, ["4 failed, the newest", "Evicted: Pod ephemeral local storage usage exceeds"]),
        ("account", "pods not created", 0, ['serviceaccount "none" not found']),
    ],
)  # fmt: skip
def test_the_cause_of_a_broken_workload_is_told_whole(name, kind, tries, words):
    (cause,) = causes_of(name)
    assert (cause.kind, cause.tries) == (kind, tries)
    whole = cause.whole()
    assert [word for word in words if word not in whole] == []
    assert cause.command.startswith("kubectl -n broken ")


def test_a_pull_that_is_under_way_has_not_failed():
    events = json.loads(json.dumps(RECORDED["events"]))
    for event in events:
        event["count"] = 4 if event["reason"] == "Pulling" else event.get("count")
    (cause,) = causes_of("notfound", events=events)
    assert cause.tries == 3


def test_a_container_that_needs_too_much_memory_is_told_its_limit():
    def limited(pod: dict) -> None:
        pod["spec"]["containers"][0] |= {"name": "box", "resources": {"limits": {"memory": "10Mi"}}}

    (cause,) = causes_of("oom", changed("oom", limited))
    assert cause.text.endswith("it needs more memory than its limit, which is 10Mi")


def test_the_log_before_the_last_start_is_shown_too_where_it_is_another_one():
    logs = {True: "password refused\n", False: "connecting\n"}
    same, other = (recorded_session(RECORDED["pods"], RECORDED["events"]) for _ in range(2))
    other.kube().core.read_namespaced_pod_log = lambda *where, previous, **which: logs[previous]
    live = typed("V1Deployment", next(one for one in RECORDED["deployments"] if one["metadata"]["name"] == "crash"))
    (cause,) = pod_causes.workload_causes(other, "Deployment", live)
    shown = cause.details()
    assert "log before its last start:\npassword refused\n" in shown and shown.endswith("its log:\nconnecting")
    (cause,) = pod_causes.workload_causes(same, "Deployment", live)
    assert cause.details().count("cannot open table") == 1, "it wrote the same each time"


@pytest.mark.parametrize(
    ("status", "missing"),
    [
        ({"replicas": 2, "ready_replicas": 1, "updated_replicas": 2}, "1 of 2 pods ready"),
        ({"replicas": 3, "ready_replicas": 2, "updated_replicas": 1}, "its ready pods are not yet those of its newest revision"),
        ({"replicas": 2, "ready_replicas": 2, "updated_replicas": 2}, ""),
    ],
)  # fmt: skip
def test_old_pods_that_are_still_ready_do_not_make_a_new_revision_ready(status, missing):
    live = typed("V1Deployment", {"metadata": {"generation": 2}, "spec": {"replicas": 2, "selector": {}, "template": {}}})
    live.status = V1DeploymentStatus(observed_generation=2, **status)
    session = SimpleNamespace(kube=lambda: SimpleNamespace(apps=SimpleNamespace(read_namespaced_deployment=lambda *_: live)))
    assert readiness.workload_missing(session, "Deployment", "airavata", "x").startswith(missing)
    assert bool(readiness.workload_missing(session, "Deployment", "airavata", "x")) == bool(missing)


JAVA = """Exception in thread "main" org.springframework.beans.factory.BeanCreationException: no entityManagerFactory
\tat org.springframework.beans.factory.support.AbstractBeanFactory.lambda$doGetBean$0(AbstractBeanFactory.java) ~[beans.jar!/:6]
%s
Caused by: org.hibernate.tool.schema.spi.SchemaManagementException: missing table [APP_IO_PARAM]
\tat org.hibernate.Validator.<init>(Validator.java:132)
%s
\t... 24 more
the end
"""


def test_of_a_java_exception_the_messages_are_shown_and_not_only_its_frames():
    frames = "\n".join(f"\tat java.base@17.0/java.net.URLClassLoader${one}.run(URLClassLoader.java:421)" for one in range(60))
    session = recorded_session(RECORDED["pods"], RECORDED["events"])
    log = "earlier\n" * 300 + JAVA % (frames, frames)
    session.kube().core.read_namespaced_pod_log = lambda *where, tail_lines, **which: "\n".join(log.splitlines()[-tail_lines:])
    live = typed("V1Deployment", next(one for one in RECORDED["deployments"] if one["metadata"]["name"] == "crash"))
    (cause,) = pod_causes.workload_causes(session, "Deployment", live)
    shown = cause.details().partition("its log:\n")[2].splitlines()
    caused = "Caused by: org.hibernate.tool.schema.spi.SchemaManagementException: missing table [APP_IO_PARAM]"
    assert shown[-5:] == [*JAVA.splitlines()[:2], caused, "\tat org.hibernate.Validator.<init>(Validator.java:132)", "the end"]
    assert len(shown) == 15, shown


def test_a_log_that_the_kubelet_has_removed_is_not_shown():
    logs = {True: "unable to retrieve container logs for containerd://0e80", False: "connecting\n"}
    session = recorded_session(RECORDED["pods"], RECORDED["events"])
    session.kube().core.read_namespaced_pod_log = lambda *where, previous, **which: logs[previous]
    live = typed("V1Deployment", next(one for one in RECORDED["deployments"] if one["metadata"]["name"] == "crash"))
    (cause,) = pod_causes.workload_causes(session, "Deployment", live)
    assert "unable to retrieve" not in cause.details() and cause.details().endswith("its log:\nconnecting")


def test_a_log_that_is_gone_hides_neither_the_cause_nor_its_events():
    def gone(*_, **__):
        raise ApiError(404, "container not found", "look")

    session = recorded_session(RECORDED["pods"], RECORDED["events"])
    session.kube().core.read_namespaced_pod_log = gone
    live = typed("V1Deployment", next(one for one in RECORDED["deployments"] if one["metadata"]["name"] == "crash"))
    (cause,) = pod_causes.workload_causes(session, "Deployment", live)
    assert "exited 4 times" in cause.whole() and "BackOff" in cause.whole()


def test_a_pod_on_a_node_that_is_not_ready_says_so():
    (cause,) = causes_of("crash", ready=False)
    assert (cause.kind, cause.text) == ("node of the pod", "Kubelet stopped posting node status.")


def changed(name: str, change: Callable[[dict], None]) -> list[dict]:
    """The recorded pods, one of them changed."""
    pods = json.loads(json.dumps(RECORDED["pods"]))
    change(next(pod for pod in pods if pod["metadata"]["name"].startswith(f"{name}-")))
    return pods


def test_the_broken_pods_of_an_earlier_revision_are_no_cause():
    def of_another(pod: dict) -> None:
        pod["metadata"]["ownerReferences"][0]["uid"] = "of-an-older-replica-set"

    assert causes_of("crash", changed("crash", of_another)) == []


def test_a_pod_that_waits_for_a_volume_says_what_its_claim_and_its_volume_are():
    def with_claims(pod: dict) -> None:
        names = ("mariadb", "none")
        pod["spec"]["volumes"] = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in names]

    def read_claim(name: str, namespace: str):
        if name == "none":
            raise ApiError(404, f'persistentvolumeclaim "{name}" not found', "")
        metadata, spec = {"name": name, "uid": "uid-of-the-claim"}, {"volumeName": "airavata-mariadb"}
        return typed("V1PersistentVolumeClaim", {"metadata": metadata, "spec": spec, "status": {"phase": "Pending"}})

    rule = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["10.98.0.12"]}
    place = {"required": {"nodeSelectorTerms": [{"matchExpressions": [rule]}]}}
    claim = {"namespace": "airavata", "name": "another"}
    spec = {"local": {"path": "/var/lib/airavata/mariadb"}, "nodeAffinity": place, "claimRef": claim}
    volume = {"metadata": {"name": "airavata-mariadb"}, "spec": spec, "status": {"phase": "Available"}}
    said = an_event("memory", "FailedBinding", 'volume "airavata-mariadb" already bound to a different claim.')
    said[0]["involvedObject"]["uid"] = "uid-of-the-claim"
    session = recorded_session(changed("memory", with_claims), said)
    session.kube().core.read_namespaced_persistent_volume_claim = read_claim
    session.kube().core.read_persistent_volume = lambda name: typed("V1PersistentVolume", volume)
    live = typed("V1Deployment", next(one for one in RECORDED["deployments"] if one["metadata"]["name"] == "memory"))
    (cause,) = pod_causes.workload_causes(session, "Deployment", live)
    assert [line.strip() for line in cause.whole().splitlines()[1:]] == [
        'claim mariadb is Pending: volume "airavata-mariadb" already bound to a different claim.',
        "volume airavata-mariadb is Available, /var/lib/airavata/mariadb, on nodes with kubernetes.io/hostname in 10.98.0.12, "
        "for the claim airavata/another",
        'claim none: persistentvolumeclaim "none" not found',
    ]


def a_host(files: str = "", journal: str = ""):
    def run(script: str):
        return SimpleNamespace(text=files if "net.d" in script else journal, status=0)

    return SimpleNamespace(name="worker", node=SimpleNamespace(address="10.94.0.12"), run=run)


def an_event(pod: str, reason: str, message: str) -> list[dict]:
    uid = next(one["metadata"]["uid"] for one in RECORDED["pods"] if one["metadata"]["name"].startswith(f"{pod}-"))
    return [
        {
            "metadata": {"name": "one", "namespace": "broken"},
            "involvedObject": {"uid": uid},
            "type": "Warning",
            "reason": reason,
            "message": message,
            "lastTimestamp": "2026-11-25T17:30:00Z",
        }
    ]


CONFLIST = '05-old.conflist 10-airavata.conflist\n{"name": "old", "plugins": [{"type": "calico"}]}\n'


def test_a_network_that_cannot_be_set_up_shows_the_plugins_message_and_the_configuration_whole():
    events = an_event("mount", "FailedCreatePodSandBox", NO_NETWORK)
    (cause,) = causes_of("mount", events=events, hosts={"worker": a_host(CONFLIST)})
    assert (cause.kind, cause.text) == ("pod without network", NO_NETWORK)
    assert "05-old.conflist" in cause.whole() and '"plugins": [{"type": "calico"}]' in cause.whole()


def test_an_old_pod_that_its_network_does_not_let_go_is_a_cause():
    def ending(pod: dict) -> None:
        pod["metadata"]["deletionTimestamp"] = "2026-11-25T17:13:00Z"

    pods = changed("mount", ending)
    assert [cause.kind for cause in causes_of("mount", pods)] == ["pod ends"]
    killed = an_event("mount", "FailedKillPod", "error killing pod: failed to find plugin")
    (cause,) = causes_of("mount", pods, killed, hosts={"worker": a_host(CONFLIST)})
    assert cause.kind == "pod not removed" and '"type": "calico"' in cause.whole()


def refused(told: str | None, last: str = "2026-11-25T17:12:29Z", journal: str = "ActiveState=active\n\n") -> Cause:
    """The cause of the recorded ReplicaSet that is refused pods, the last time at `last`; it was told to try again at `told`."""
    sets, events = (json.loads(json.dumps(RECORDED[kind])) for kind in ("replica_sets", "events"))
    (owner,) = [one for one in sets if one["metadata"]["name"] == "account-5fcc74d85f"]
    owner["metadata"]["managedFields"] = [{"manager": MANAGER, "time": told}] if told else []
    for event in events:
        event["lastTimestamp"] = last
    session = recorded_session(RECORDED["pods"], events)
    session.kube().apps.list_namespaced_replica_set = listed("ReplicaSet", sets)
    session.master = a_host(journal=journal)
    live = typed("V1Deployment", next(one for one in RECORDED["deployments"] if one["metadata"]["name"] == "account"))
    (cause,) = pod_causes.workload_causes(session, "Deployment", live)
    return cause


@pytest.mark.parametrize("told", [None, "2026-11-25T17:12:29Z", "2026-11-25T17:00:00Z"])
def test_what_refuses_pods_since_their_controller_was_told_to_try_again_ends_the_wait(told):
    cause = refused(told)
    assert seen((0, cause), (9, cause), (1, cause)) == [False, False, True] and 'serviceaccount "none"' in cause.text


def test_what_refused_pods_before_their_controller_was_told_to_try_again_may_pass_and_is_reported_as_past():
    cause = refused("2026-11-25T17:12:30Z", journal="ActiveState=inactive\nSubState=dead\n\n")
    assert seen((0, cause), (20, cause), (5, None), (29, cause)) == [False] * 4
    assert seen((0, cause), (29, cause), (1, cause)) == [False, False, True], "also where its events are dropped, being too many"
    assert "was told to try again, at 17:12:30 UTC; what it reported before: Error creating: pods" in cause.whole()
    assert "service kube-controller-manager" in cause.whole()


def test_a_wait_has_the_controller_that_was_refused_pods_try_again_once_and_says_so():
    tried, notices, answers = [], [], iter(["0 of 1 pods ready"] * 3 + [""])
    causes = [Cause(kind, "ReplicaSet x", "exceeded quota", retry=lambda: tried.append(1) or "kubectl annotate x")
              for kind in ("pods not created", "no pods tried")]  # fmt: skip
    host = SimpleNamespace(pause=lambda seconds: None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("airavata_runbook.resources.condition.LOOK", 0)
        Condition("Deployment x", check=lambda: next(answers), causes=lambda: causes, deadline=5).wait(host, notices.append)
    assert tried == [1]
    assert notices == ["wait for Deployment x: tried again at once: kubectl annotate x\nReplicaSet x: exceeded quota"]


@pytest.mark.parametrize("error", [None, ApiError(409, "the object was deleted", "")])
def test_a_controller_tries_again_when_an_annotation_of_its_object_changes(error):
    sent = []

    def request(method: str, path: str, query: dict, body: dict) -> None:
        sent.append((method, path, query["fieldManager"], body))
        if error:
            raise error

    kinds = {"apps/v1": {"ReplicaSet": "replicasets"}}
    client = SimpleNamespace(request=request, kinds=kinds, finding=Lock())
    owner = SimpleNamespace(metadata=SimpleNamespace(name="x-1", namespace="airavata", uid="u"))
    commands = [try_again(client, "ReplicaSet", owner) for _ in range(2)]
    assert commands[0].startswith("kubectl -n airavata annotate --overwrite replicaset x-1 airavata-runbook/tried-again=")
    method, path, manager, body = sent[0]
    assert (method, path, manager) == ("PATCH", "/apis/apps/v1/namespaces/airavata/replicasets/x-1", MANAGER)
    assert body["metadata"]["uid"] == "u" and manager != FIELD_MANAGER, "nobody takes it for an object of the runbook"
    assert body != sent[1][3], "what does not change wakes nobody"


def test_a_container_that_is_still_being_created_is_no_cause():
    assert causes_of("mount", events=an_event("crash", "FailedMount", "of another pod")) == []


def journal(name: str) -> str:
    return (FIXTURES / f"{name}.txt").read_text()


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("kubelet-unknown-flag", "unit failed", ["failed (exit-code, exit status 1)", "unknown flag: --no-such-flag"]),
        ("registry-certificate", "unit exits", ["exited", "tls: failed to find any PEM data in certificate input"]),
        ("flanneld-denied", "unit logs errors", ["Couldn't fetch network config: etcdserver: permission denied"]),
    ],
)
def test_the_cause_of_a_service_that_does_not_run_is_its_own_error(name, kind, words):
    state, _, log = journal(name).partition("\n\n") if "\n\n" in journal(name) else split_state(journal(name))
    (cause,) = host_causes.service_causes(a_host(journal=f"{state}\n\n{log}"), "some")
    assert cause.kind == kind and [word for word in words if word not in cause.whole()] == []
    assert "some on worker" in cause.whole() and cause.command == "journalctl -u some"


def test_errors_that_a_service_logs_while_it_is_stopped_are_no_cause():
    """The API server logs the same error many times while its clients leave; it starts well afterwards."""
    state, _, log = journal("flanneld-denied").partition("\n\n")
    if not log:
        state, _, log = split_state(journal("flanneld-denied"))
    stopping = re.sub("ActiveState=.*", "ActiveState=deactivating", state)
    assert "deactivating" in stopping
    assert host_causes.service_causes(a_host(journal=f"{stopping}\n\n{log}"), "some") == []


def split_state(text: str) -> tuple[str, str, str]:
    lines = text.splitlines()
    state = [line for line in lines[:8] if line.partition("=")[0].isalpha() and "=" in line]
    return "\n".join(state), "", "\n".join(lines[len(state) :])


def test_a_service_that_somebody_stopped_is_a_cause():
    (cause,) = host_causes.service_causes(a_host(journal="ActiveState=inactive\nSubState=dead\nNRestarts=2\n\nended\n"), "etcd")
    assert (cause.kind, cause.summary) == ("unit stopped", "service etcd on worker: inactive (dead)")


def test_an_api_server_that_does_not_answer_is_explained_by_its_service_and_etcds():
    def refuse(*_: object) -> None:
        raise ApiError(0, "no reply", "look")

    stopped = a_host(journal="ActiveState=inactive\nSubState=dead\n\n")
    apps = SimpleNamespace(read_namespaced_deployment=refuse)
    session = SimpleNamespace(kube=lambda: SimpleNamespace(apps=apps), master=stopped)
    found = readiness.workload_causes(session, "Deployment", "airavata", "portal")
    assert [cause.of for cause in found] == ["service etcd on worker", "service kube-apiserver on worker"]


def test_an_init_container_that_is_done_and_a_pod_without_events_are_told_apart():
    def with_init(pod: dict) -> None:
        done = {"exitCode": 0, "reason": "Completed"}
        box = {"name": "first", "image": "x", "imageID": "x", "ready": True, "restartCount": 1, "state": {"terminated": done}}
        pod["status"]["initContainerStatuses"] = [{**box, "lastState": {"terminated": {"exitCode": 1}}}]

    (cause,) = causes_of("probe", changed("probe", with_init), an_event("crash", "Unhealthy", "of another"))
    assert (cause.kind, cause.text) == ("container not ready", "containers with unready status: [box]")


def test_a_service_that_runs_is_no_cause():
    running = (
        "ActiveState=active\nSubState=running\nResult=success\nNRestarts=0\nExecMainStatus=0\n\nE1125 17:20:29.4 8 a.go:1] once\n"
    )
    assert host_causes.service_causes(a_host(journal=running), "some") == []


def test_the_last_errors_of_a_service_are_shown_once_and_whole_and_the_others_counted():
    shown = host_causes.last_errors(a_host(journal=journal("kubelet-forbidden")), "kubelet").splitlines()
    assert len(shown) == len(set(shown)) == host_causes.ERRORS + 1
    assert shown[0].endswith("other errors before: journalctl -u kubelet)")
    assert any('User "system:kube-proxy" cannot get resource "leases"' in line.replace("\\", "") for line in shown)
    plain = "Error: unknown flag: --no-such-flag\n" + "usage\n" * 20
    assert host_causes.last_errors(a_host(journal=plain), "x") == "Error: unknown flag: --no-such-flag"
    assert host_causes.last_errors(a_host(journal="started\nended\n"), "x") == "started\nended"


@pytest.mark.parametrize(
    ("answer", "kinds"),
    [
        (ApiError(404, "", ""), ["node not registered"]),
        (ApiError(0, "", ""), []),
        ({"type": "Ready", "status": "False", "message": "cni plugin not initialized"}, ["node not ready"]),
        ({"type": "Ready", "status": "True"}, []),
    ],
)  # fmt: skip
def test_a_node_that_is_not_ready_or_not_registered_says_why(answer, kinds):
    def read_node(name: str):
        if isinstance(answer, Exception):
            raise answer
        return typed("V1Node", {"status": {"conditions": [answer]}})

    host = a_host(CONFLIST, journal("kubelet-forbidden"))
    core = SimpleNamespace(read_node=read_node)
    session = SimpleNamespace(kube=lambda: SimpleNamespace(core=core), hosts={"worker": host})
    found = [one for one in host_causes.node_causes(session, host) if one.kind != "unit logs errors"]
    assert [one.kind for one in found] == kinds
    whole = "".join(one.whole() for one in found)
    assert kinds != ["node not registered"] or "forbidden" in whole
    assert kinds != ["node not ready"] or ("cni plugin not initialized" in whole and "05-old.conflist" in whole)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def seen(*steps: tuple[float, Cause | None], left: float = 100.0) -> list[bool]:
    """Whether the wait ends at each step: (seconds since the last one, the cause seen then)."""
    clock = Clock()
    patience, ends = Patience(clock), []
    for seconds, cause in steps:
        clock.now += seconds
        ends.append(bool(patience.final([cause] if cause else [], left)))
    return ends


def test_a_cause_ends_the_wait_once_it_lasted_and_one_that_passed_begins_anew():
    network = Cause("pod without network", "pod x", "no plugin")
    assert RULES[network.kind].seconds == 30
    assert seen((0, network), (29, network), (1, network)) == [False, False, True]
    assert seen((0, network), (29, None), (1, network), (29, network)) == [False] * 4
    assert seen((0, Cause("unit failed", "x", "failed"))) == [True]
    assert (
        seen((0, Cause("container not ready", "x", "probe")), (10**6, Cause("container not ready", "x", "probe"))) == [False] * 2
    )


def exits(number: int, next_try: float = 0) -> Cause:
    return Cause("container exits", "pod x", "exited", number, next_try)


def test_a_container_ends_the_wait_with_its_third_exit_but_not_while_what_it_needs_starts_beside_it():
    assert seen((0, exits(1)), (1, exits(2)), (1, None), (7, exits(3)), (1, exits(3))) == [False] * 4 + [True]
    assert seen((0, exits(4)), (40, exits(5)), (80, exits(6))) == [False, False, True], "two more than before this wait"
    assert seen((0, exits(9, 300)), (6, exits(9, 294))) == [False, True], "its next start comes after the deadline"
    unit = [Cause("unit exits", "x", "exited", number) for number in (7, 8, 9, 10)]
    assert seen(*((1, one) for one in unit)) == [False, False, False, True]


def test_an_image_is_pulled_twice_and_awaited_for_a_while_as_the_registry_may_be_restarting():
    def pulls(number: int) -> Cause:
        return Cause("image not pulled", "pod x", "not found", number)

    assert seen((0, pulls(1)), (5, pulls(2)), (4, pulls(2)), (1, pulls(2))) == [False, False, False, True]
    assert seen((0, pulls(1)), (40, pulls(1)), (1, pulls(2))) == [False, False, True]
    assert seen((0, pulls(5)), (40, pulls(5)), (1, pulls(6))) == [False, False, True], "one more than before this wait"


def test_the_lines_that_are_left_out_of_a_cause_are_counted_with_the_command_that_shows_all():
    lines = [f"line {number}" for number in range(LINES + 5)]
    cause = Cause("unit failed", "service x", "failed", details=lambda: "\n".join(lines), command="journalctl -u x")
    whole = cause.whole().splitlines()
    assert whole[:2] == ["service x: failed", "  (5 lines before: journalctl -u x)"] and whole[-1] == f"  {lines[-1]}"
    assert len(whole) == LINES + 2


def test_details_that_cannot_be_read_hide_no_cause():
    def fail() -> str:
        raise HostUnreachable("the SSH connection was lost")

    assert Cause("unit failed", "x", "failed", details=fail).whole() == "x: failed\n  (no details: the SSH connection was lost)"


def test_a_wait_ends_with_the_cause_and_names_what_is_needed_and_the_commands(monkeypatch):
    host = SimpleNamespace(pause=lambda seconds: None)
    failed = Cause("unit failed", "service kubelet", "failed", details=lambda: "swap is on", command="journalctl -u kubelet")
    clock = Clock()
    monkeypatch.setattr(
        "airavata_runbook.resources.condition.time.monotonic", lambda: setattr(clock, "now", clock.now + 0.1) or clock.now
    )
    ready = Condition("node x", check=lambda: "no node x yet", causes=lambda: [failed], deadline=120, remedy="look")
    with pytest.raises(StepFailed) as caught:
        ready.wait(host)
    error = caught.value
    assert error.found == "no node x yet\nservice kubelet: failed\n  swap is on" and not error.retryable
    assert (error.needed, error.remedy) == ("a service that stays up", "journalctl -u kubelet; look")
    assert clock.now - Clock.now < LOOK + 2, "it ended at the first look"


def test_a_wait_that_reaches_its_deadline_reports_what_is_missing_and_every_cause():
    probe = Cause("container not ready", "pod x", "Readiness probe failed: refused")
    host = SimpleNamespace(pause=lambda seconds: None)
    with pytest.raises(StepFailed) as caught:
        Condition("pods", check=lambda: "0 of 1 pods ready", causes=lambda: [probe], deadline=0.2).wait(host)
    assert caught.value.found == "0 of 1 pods ready\npod x: Readiness probe failed: refused" and caught.value.retryable


def test_a_wait_whose_cause_passes_goes_on_to_its_end():
    answers = iter(["1 exit", "1 exit", ""])
    host = SimpleNamespace(pause=lambda seconds: None)
    Condition("pods", check=lambda: next(answers), causes=lambda: [exits(1)], deadline=5).wait(host)


def test_a_service_that_keeps_logging_an_error_while_it_starts_is_not_awaited_until_systemd_gives_up():
    ran = []

    def run(script: str):
        ran.append(script)
        denied = split_state(journal("flanneld-denied"))
        status = 124 if "timeout" in script else 0
        return SimpleNamespace(text=f"{denied[0]}\n\n{denied[2]}", status=status)

    host = SimpleNamespace(
        name="worker", run=run, run_batch=lambda scripts: {name: run(script) for name, script in scripts.items()}
    )
    with pytest.raises(StepFailed) as caught:
        Service("flanneld")._apply(host, "systemctl daemon-reload", "restart")
    assert "etcdserver: permission denied" in caught.value.found and "not started after" in caught.value.found
    assert sum("timeout" in script for script in ran) == 1
