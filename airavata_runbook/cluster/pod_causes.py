"""Why the pods of a workload are not ready: what the scheduler, the controllers and the kubelets report of them, whole.

Sources: Kubernetes' "Pod Lifecycle" (phases, states of containers, PodReadyToStartContainers, the restart delay) and "Images"
(ImagePullBackOff).
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from airavata_runbook.cluster.causes import Cause, no_details, report
from airavata_runbook.cluster.host_causes import network_configuration, service_causes
from airavata_runbook.cluster.kube import ApiError, Kube
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import counted
from airavata_runbook.wellknown import PULL_SERVICE

STARTING = ("ContainerCreating", "PodInitializing")  # why a container waits when nothing is wrong
PULLING = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")
EXITED = ("CrashLoopBackOff", "RunContainerError")
NO_NETWORK = "FailedCreatePodSandBox"
EVENTS = {NO_NETWORK: "pod without network", "FailedMount": "volume not mounted", "FailedAttachVolume": "volume not mounted"}
FIRST_DELAY, LONGEST_DELAY = 10, 300  # seconds until a container is started, or an image pulled, again: doubled each time
LOG_LINES = 15


def workload_causes(session: Session, kind: str, live: Any) -> list[Cause]:
    """The causes for which a Deployment, StatefulSet or DaemonSet is not ready. live: the object. Raises ApiError."""
    client, namespace, selector = session.kube(), live.metadata.namespace, live.spec.selector.match_labels
    labels = ",".join(f"{key}={value}" for key, value in selector.items())
    pods = client.core.list_namespaced_pod(namespace, label_selector=labels).items
    owner = _newest_replica_set(client, live, labels) if kind == "Deployment" else live
    if owner is None:
        return []
    # A Deployment goes on although its old pods are broken. The other kinds replace theirs one by one, and wait for each.
    mine = [pod for pod in pods if kind != "Deployment" or owner.metadata.uid in _owners(pod)]
    ending = [pod for pod in pods if pod.metadata.deletion_timestamp]
    current = [pod for pod in mine if pod not in ending and pod.status.phase != "Failed"]
    wanted = (live.status.desired_number_scheduled if kind == "DaemonSet" else live.spec.replicas) or 0
    found = _not_created(client, "ReplicaSet" if kind == "Deployment" else kind, owner) if len(current) < wanted else []
    found += _failed(kind, live, [pod for pod in mine if pod.status.phase == "Failed"])
    found += [_ending(session, pod) for pod in ending]
    return found + [cause for pod in current if not _condition(pod, "Ready") for cause in pod_causes(session, pod)]


def pod_causes(session: Session, pod: Any) -> list[Cause]:
    """The causes for which one pod is not ready. Raises ApiError."""
    client, name, namespace = session.kube(), pod.metadata.name, pod.metadata.namespace
    describe = f"kubectl -n {namespace} describe pod {name}"
    if not pod.spec.node_name:
        return [
            Cause(
                "pod not scheduled",
                f"pod {name}",
                one.message or one.reason,
                details=partial(_claims, client, pod),
                command=describe,
            )
            for one in pod.status.conditions or ()
            if one.type == "PodScheduled" and one.status != "True"
        ]
    if why := _node_trouble(client, pod.spec.node_name):
        return [Cause("node of the pod", f"pod {name} on node {pod.spec.node_name}", why, command=describe)]
    first = [box for box in pod.status.init_container_statuses or () if not _is_done(box)]
    found = [cause for box in [*first, *(pod.status.container_statuses or ())] for cause in _container(session, pod, box)]
    if found:
        return found
    warnings = [event for event in _events(client, namespace, pod.metadata.uid) if event.type == "Warning"]
    if _condition(pod, "PodReadyToStartContainers"):  # what failed before is past
        said = [event.message for event in warnings if event.reason == "Unhealthy"]
        said = said or [one.message for one in pod.status.conditions if one.type == "Ready" and one.message]
        return [Cause("container not ready", f"pod {name}", message, command=describe) for message in said[-1:]]
    return [
        Cause(EVENTS[event.reason], f"pod {name} on node {pod.spec.node_name}", event.message, details=details, command=describe)
        for event in warnings[-1:]
        if event.reason in EVENTS
        for details in [partial(network_configuration, session, pod.spec.node_name) if event.reason == NO_NETWORK else no_details]
    ]


def _claims(client: Kube, pod: Any) -> str:
    """The claims of a pod, each with what it waits for or where its volume is."""
    namespace, lines = pod.metadata.namespace, []
    for name in (one.persistent_volume_claim.claim_name for one in pod.spec.volumes or () if one.persistent_volume_claim):
        try:
            claim = client.core.read_namespaced_persistent_volume_claim(name, namespace)
            said = [event.message for event in _events(client, namespace, claim.metadata.uid)][-1:]
            lines += [f"claim {name} is {claim.status.phase}{': ' * bool(said)}{''.join(said)}"]
            if claim.spec.volume_name:
                lines += [_volume(client.core.read_persistent_volume(claim.spec.volume_name))]
        except ApiError as error:
            lines += [f"claim {name}: {error.found}"]
    return "\n".join(lines)


def _volume(volume: Any) -> str:
    """Where a volume is, and whose."""
    spec, claim = volume.spec, volume.spec.claim_ref
    place = spec.local or spec.host_path
    terms = spec.node_affinity.required.node_selector_terms if spec.node_affinity else ()
    rules = [f"{one.key} in {', '.join(one.values or ())}" for term in terms for one in term.match_expressions or ()]
    text = f"volume {volume.metadata.name} is {volume.status.phase}{f', {place.path}' if place else ''}"
    text += f", on nodes with {'; '.join(rules)}" if rules else ""
    return f"{text}, for the claim {claim.namespace}/{claim.name}" if claim else text


def _ending(session: Session, pod: Any) -> Cause:
    """Why an old pod is still there."""
    name, namespace, node = pod.metadata.name, pod.metadata.namespace, pod.spec.node_name
    of, command = f"pod {name} on node {node}", f"kubectl -n {namespace} describe pod {name}"
    for event in _events(session.kube(), namespace, pod.metadata.uid):
        if event.reason == "FailedKillPod":
            details = partial(network_configuration, session, node)
            return Cause("pod not removed", of, f"{event.reason}: {event.message}", details=details, command=command)
    return Cause("pod ends", of, f"terminating since {pod.metadata.deletion_timestamp}", command=command)


def _is_done(box: Any) -> bool:
    """Whether an init container has done its work."""
    return bool(box.state.terminated and box.state.terminated.exit_code == 0)


def _container(session: Session, pod: Any, box: Any) -> Iterator[Cause]:
    """Why a container is not running, or why it has not stayed so."""
    client, name, namespace, waiting = session.kube(), pod.metadata.name, pod.metadata.namespace, box.state.waiting
    of, describe = f"pod {name}, container {box.name}", f"kubectl -n {namespace} describe pod {name}"
    ended = box.state.terminated or box.last_state.terminated
    if waiting and waiting.reason in PULLING:
        events = _events(client, namespace, pod.metadata.uid)
        pulls = [event for event in events if event.reason == "Pulling"]
        tries = sum(event.count or 1 for event in pulls)
        last = max((event.last_timestamp for event in pulls if event.last_timestamp), default=None)
        text = f"{waiting.reason} after {counted(tries, 'pull')}: {waiting.message or ''}"
        details = partial(_pull_details, session, [one for one in events if one.reason == "FailedToRetrieveImagePullSecret"])
        yield Cause("image not pulled", of, text, tries, _delay(tries, last), details, describe)
    elif waiting and waiting.reason not in (*STARTING, *EXITED):
        yield Cause("container refused", of, f"{waiting.reason}: {waiting.message or ''}", command=describe)
    elif ended and ended.exit_code + box.restart_count and not (box.ready and box.state.running):
        running = bool(box.state.running)
        exits = box.restart_count + (not running)
        text = f"exited {counted(exits, 'time')}, last with status {ended.exit_code} ({ended.reason})"
        text += f": {ended.message}" if ended.message else ""
        log, details = f"kubectl -n {namespace} logs {name} -c {box.name}", partial(_log, client, pod, box.name, running)
        delay = 0 if running else _delay(exits, ended.finished_at)
        yield Cause("container exits", of, text, exits, delay, details, log + " --previous" * running)


def _delay(tries: int, last: datetime | None) -> float:
    """Seconds until the kubelet's next try, after so many failed ones, the last at that time."""
    delay = min(FIRST_DELAY * 2 ** min(max(tries - 2, 0), 10), LONGEST_DELAY)
    return delay - (datetime.now(UTC) - last).total_seconds() if last else 0.0


def _log(client: Kube, pod: Any, container: str, previous: bool) -> str:
    """The last lines of a container's log, after the probe's message where a probe ended it."""
    read, namespace, name = client.core.read_namespaced_pod_log, pod.metadata.namespace, pod.metadata.name
    try:
        probes = [event for event in _events(client, namespace, pod.metadata.uid) if event.reason == "Unhealthy"]
        log = read(name, namespace, container=container, previous=previous, tail_lines=LOG_LINES) or "(nothing)"
    except ApiError as error:  # the container is gone by now
        return f"its log could not be read: {error.found}"
    return f"{_messages(probes[-1:])}\nlast lines of its log:\n{log}".strip()


def _pull_details(session: Session, events: Iterable[Any]) -> str:
    """What is wrong with the Secret for image pulls, and with the registry's service."""
    causes = service_causes(session.registry_host, PULL_SERVICE)
    return f"{_messages(events)}\n{report(causes)}".strip()


def _messages(events: Iterable[Any]) -> str:
    return "\n".join(dict.fromkeys(event.message for event in events))


def _failed(kind: str, live: Any, pods: Sequence[Any]) -> list[Cause]:
    """Pods that were evicted or refused by their node; their controller has made others for them."""
    if not pods:
        return []
    newest = max(pods, key=lambda pod: pod.metadata.creation_timestamp)
    text = f"{newest.status.reason or 'Failed'}: {(newest.status.message or '').strip()}"
    of, command = f"pods of {kind} {live.metadata.name}", f"kubectl -n {live.metadata.namespace} get pods -o wide"
    return [
        Cause(
            "pod failed",
            of,
            f"{len(pods)} failed, the newest on node {newest.spec.node_name}: {text}",
            len(pods),
            command=command,
        )
    ]


def _not_created(client: Kube, kind: str, owner: Any) -> list[Cause]:
    """Why the controller of pods cannot create one: a quota, an admission rule, a missing service account."""
    name, namespace = owner.metadata.name, owner.metadata.namespace
    events = [event for event in _events(client, namespace, owner.metadata.uid) if event.reason == "FailedCreate"]
    command = f"kubectl -n {namespace} describe {kind.lower()} {name}"
    return [Cause("pods not created", f"{kind} {name}", event.message, command=command) for event in events[-1:]]


def _newest_replica_set(client: Kube, deployment: Any, labels: str) -> Any:
    """The ReplicaSet of a Deployment's present revision; None before it is made."""
    listed = client.apps.list_namespaced_replica_set(deployment.metadata.namespace, label_selector=labels).items
    mine = [one for one in listed if deployment.metadata.uid in _owners(one)]
    return max(
        mine, key=lambda one: int((one.metadata.annotations or {}).get("deployment.kubernetes.io/revision", 0)), default=None
    )


def _owners(one: Any) -> list[str]:
    return [owner.uid for owner in one.metadata.owner_references or ()]


def _condition(pod: Any, kind: str) -> bool:
    return any(one.type == kind and one.status == "True" for one in pod.status.conditions or ())


def _node_trouble(client: Kube, name: str) -> str:
    """Why the node of a pod is not Ready; "" when it is, or is gone."""
    try:
        conditions = client.core.read_node(name).status.conditions or ()
    except ApiError as error:
        if error.status == 404:
            return "the node is gone"
        raise
    return next((one.message or one.reason for one in conditions if one.type == "Ready" and one.status != "True"), "")


def _events(client: Kube, namespace: str, uid: str) -> list[Any]:
    """The events of an object, the newest last."""
    listed = client.core.list_namespaced_event(namespace, field_selector=f"involvedObject.uid={uid}").items
    return sorted(listed, key=lambda event: str(event.last_timestamp or event.event_time or ""))
