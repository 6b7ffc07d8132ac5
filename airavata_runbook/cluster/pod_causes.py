"""Why the pods of a workload are not ready: what the scheduler, the controllers and the kubelets report of them, whole.

Sources: Kubernetes' "Pod Lifecycle" (phases, states of containers, PodReadyToStartContainers, the restart delay) and "Images"
(ImagePullBackOff).
"""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from airavata_runbook.cluster.causes import Cause, report
from airavata_runbook.cluster.host_causes import network_configuration, service_causes
from airavata_runbook.cluster.kube import ApiError, Kube
from airavata_runbook.cluster.pod_details import claims_of, events_of, meaning_of, recent_events, story, time_of
from airavata_runbook.cluster.retry import told, try_again
from airavata_runbook.cluster.session import Session
from airavata_runbook.errors import counted
from airavata_runbook.wellknown import PULL_SERVICE

STARTING = ("ContainerCreating", "PodInitializing")  # why a container waits when nothing is wrong
PULLING = ("ErrImagePull", "ImagePullBackOff", "RegistryUnavailable")
EXITED = ("CrashLoopBackOff", "RunContainerError")
NO_NETWORK = "FailedCreatePodSandBox"
EVENTS = {NO_NETWORK: "pod without network", "FailedMount": "volume not mounted", "FailedAttachVolume": "volume not mounted"}
FIRST_DELAY, LONGEST_DELAY = 10, 300  # seconds until a container is started, or an image pulled, again: doubled each time


def workload_causes(session: Session, kind: str, live: Any) -> list[Cause]:
    """The causes for which a Deployment, StatefulSet or DaemonSet is not ready, or a Job not complete. live: the object.

    Raises ApiError.
    """
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
    wanted = _wanted(kind, live)
    found = _not_created(session, "ReplicaSet" if kind == "Deployment" else kind, owner) if len(current) < wanted else []
    found += _failed(kind, live, [pod for pod in mine if pod.status.phase == "Failed"])
    found += [_ending(session, pod) for pod in ending]
    return found + [cause for pod in current if not _condition(pod, "Ready") for cause in pod_causes(session, pod)]


def _wanted(kind: str, live: Any) -> int:
    """The number of pods that its controller makes."""
    if kind == "Job":
        return (live.spec.completions or 1) - (live.status.succeeded or 0)
    return (live.status.desired_number_scheduled if kind == "DaemonSet" else live.spec.replicas) or 0


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
                details=lambda: "\n".join(filter(None, (claims_of(client, pod), recent_events(client, pod)))),
                command=describe,
            )
            for one in pod.status.conditions or ()
            if one.type == "PodScheduled" and one.status != "True"
        ]
    if why := _node_trouble(client, pod.spec.node_name):
        return [Cause("node of the pod", f"pod {name} on node {pod.spec.node_name}", why, command=describe)]
    first = [box for box in pod.status.init_container_statuses or () if not _is_done(box)]
    boxes = [*first, *(pod.status.container_statuses or ())]
    if found := [cause for box in boxes for cause in _container(session, pod, box)]:
        return found
    warnings = [event for event in events_of(client, namespace, pod.metadata.uid) if event.type == "Warning"]
    if _condition(pod, "PodReadyToStartContainers"):  # what failed before is past
        said = [event.message for event in warnings if event.reason == "Unhealthy"]
        said = said or [one.message for one in pod.status.conditions if one.type == "Ready" and one.message]
        logs = partial(story, client, pod, [box for box in boxes if not box.ready])
        return [Cause("container not ready", f"pod {name}", message, details=logs, command=describe) for message in said[-1:]]
    network, events = partial(network_configuration, session, pod.spec.node_name), partial(recent_events, client, pod)
    return [
        Cause(
            EVENTS[event.reason],
            f"pod {name} on node {pod.spec.node_name}",
            event.message,
            details=network if event.reason == NO_NETWORK else events,
            command=describe,
        )
        for event in warnings[-1:]
        if event.reason in EVENTS
    ]


def _ending(session: Session, pod: Any) -> Cause:
    """Why an old pod is still there."""
    name, namespace, node = pod.metadata.name, pod.metadata.namespace, pod.spec.node_name
    of, command = f"pod {name} on node {node}", f"kubectl -n {namespace} describe pod {name}"
    for event in events_of(session.kube(), namespace, pod.metadata.uid):
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
        events = events_of(client, namespace, pod.metadata.uid)
        # Not those that have begun: the one under way may succeed.
        pulls = [event for event in events if event.reason == "Failed" and event.message.startswith("Failed to pull image")]
        tries = sum(event.count or 1 for event in pulls)
        last = max((event.last_timestamp for event in pulls if event.last_timestamp), default=None)
        text = f"{waiting.reason} after {counted(tries, 'pull')}: {waiting.message or ''}"
        pulling = partial(_pull_details, session, pod, events)
        yield Cause("image not pulled", of, text, tries, _delay(tries, last), pulling, describe)
    elif waiting and waiting.reason not in (*STARTING, *EXITED):
        recent = partial(recent_events, client, pod)
        yield Cause("container refused", of, f"{waiting.reason}: {waiting.message or ''}", details=recent, command=describe)
    elif ended and ended.exit_code + box.restart_count and not (box.ready and box.state.running):
        running = bool(box.state.running)
        exits = box.restart_count + (not running)
        text = f"exited {counted(exits, 'time')}, last with status {ended.exit_code} ({ended.reason})"
        text += f": {ended.message}" if ended.message else ""
        text += f"; {meaning}" if (meaning := meaning_of(ended, pod, box.name)) else ""
        log, details = f"kubectl -n {namespace} logs {name} -c {box.name}", partial(story, client, pod, [box])
        delay = 0 if running else _delay(exits, ended.finished_at)
        yield Cause("container exits", of, text, exits, delay, details, log + " --previous" * running)


def _delay(tries: int, last: datetime | None) -> float:
    """Seconds until the kubelet's next try, after so many failed ones, the last at that time."""
    delay = min(FIRST_DELAY * 2 ** min(max(tries - 2, 0), 10), LONGEST_DELAY)
    return delay - (datetime.now(UTC) - last).total_seconds() if last else 0.0


def _pull_details(session: Session, pod: Any, events: Sequence[Any]) -> str:
    """What is wrong with the Secret for image pulls, and with the registry's service."""
    secrets = dict.fromkeys(event.message for event in events if event.reason == "FailedToRetrieveImagePullSecret")
    registry = report(service_causes(session.registry_host, PULL_SERVICE))
    return "\n".join(filter(None, [*secrets, registry, recent_events(session.kube(), pod)]))


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


def _not_created(session: Session, kind: str, owner: Any) -> list[Cause]:
    """Why the controller of pods cannot create one: a quota, an admission rule, a missing service account.

    What it was refused before it was told to try again may be over: it ends no wait as soon as what it was refused since.
    """
    client, name, namespace = session.kube(), owner.metadata.name, owner.metadata.namespace
    refused = [event for event in events_of(client, namespace, owner.metadata.uid) if event.reason == "FailedCreate"]
    if not refused:
        return []
    of, command = f"{kind} {name}", f"kubectl -n {namespace} describe {kind.lower()} {name}"
    message, since, retry = refused[-1].message, told(owner), partial(try_again, client, kind, owner)
    if not since or time_of(refused[-1]) >= since:
        return [Cause("pods not created", of, message, command=command, retry=retry)]
    text = f"no pod since its controller was told to try again, at {since:%H:%M:%S} UTC; what it reported before: {message}"
    return [
        Cause(
            "no pods tried",
            of,
            text,
            details=lambda: report(service_causes(session.master, "kube-controller-manager")),
            command=command,
            retry=retry,
        )
    ]


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
