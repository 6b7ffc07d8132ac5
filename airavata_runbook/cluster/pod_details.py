"""What is shown of a pod that is not ready: its events, the logs of its containers, and what their exits mean."""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from airavata_runbook.cluster.kube import ApiError, Kube

LOG_LINES, EVENTS = 15, 6  # shown
READ_LINES = 400  # of a log, of which the last are shown: a Java exception has some hundred frames
FRAME = re.compile(r"\s+(at [\w.$/<>@-]+\(.*\)|\.\.\. \d+ (more|common frames omitted))")  # of a Java exception
REMOVED = "unable to retrieve container logs"  # how the kubelet begins what it sends in the place of a log that it has removed
# Exit status or reason of a container → what that means, as a shell and the container runtime use them.
MEANINGS: dict[str | int, str] = {
    "OOMKilled": "it needs more memory than its limit",
    "ContainerCannotRun": "its command cannot be run",
    "StartError": "its command cannot be run",
    0: "it ends by itself, as a server must not",
    126: "its command cannot be run",
    127: "its command is not in the image",
    137: "it was killed (SIGKILL), by a probe or for lack of memory",
}


def meaning_of(ended: Any, pod: Any, container: str) -> str:
    """What the end of a container means, in words; "" for an exit status of its own. ended: its state."""
    if ended.reason == "OOMKilled":
        return MEANINGS["OOMKilled"] + memory_limit(pod, container)
    return MEANINGS.get(ended.reason) or MEANINGS.get(ended.exit_code, "")


def events_of(client: Kube, namespace: str, uid: str) -> list[Any]:
    """The events of an object, the newest last."""
    listed = client.core.list_namespaced_event(namespace, field_selector=f"involvedObject.uid={uid}").items
    return sorted(listed, key=time_of)


def time_of(event: Any) -> datetime:
    """When it was seen last."""
    return event.last_timestamp or event.event_time or datetime.min.replace(tzinfo=UTC)


def recent_events(client: Kube, pod: Any) -> str:
    """The last events of a pod, each once; "" when it has none."""
    events = events_of(client, pod.metadata.namespace, pod.metadata.uid)
    lines = dict.fromkeys(
        f"{one.reason}{f' ({one.count} times)' if (one.count or 1) > 1 else ''}: {one.message}" for one in events
    )
    return "\n".join(["last events of the pod:", *list(lines)[-EVENTS:]]) if lines else ""


def story(client: Kube, pod: Any, boxes: Iterable[Any]) -> str:
    """The last events of a pod, and the last lines that these of its containers wrote, also before their last restart."""
    return "\n".join(filter(None, [recent_events(client, pod), *(line for box in boxes for line in _logs(client, pod, box))]))


def _logs(client: Kube, pod: Any, box: Any) -> Iterator[str]:
    """The log of a container since its last start, and of the run before it where there was one that wrote something else."""
    last = _log(client, pod, box.name, previous=False)
    before = _log(client, pod, box.name, previous=True) if box.restart_count else last
    if before != last and not before.startswith(REMOVED):
        yield f"container {box.name}, last lines of the log before its last start:\n{before}"
    yield f"container {box.name}, last lines of its log:\n{last}"


def _log(client: Kube, pod: Any, container: str, previous: bool) -> str:
    read = client.core.read_namespaced_pod_log
    try:
        text = read(pod.metadata.name, pod.metadata.namespace, container=container, previous=previous, tail_lines=READ_LINES)
    except ApiError as error:  # the container is gone by now
        return f"(could not be read: {error.found})"
    return _end(text) or "(nothing)"


def _end(log: str) -> str:
    """The last lines of a log; of a Java exception its messages, and the first frame of each."""
    lines = log.rstrip().splitlines()
    kept = [line for before, line in zip(["", *lines], lines, strict=False) if not (FRAME.match(line) and FRAME.match(before))]
    return "\n".join(kept[-LOG_LINES:])


def memory_limit(pod: Any, container: str) -> str:
    """ ", which is 256Mi" """
    for box in [*(pod.spec.init_containers or ()), *pod.spec.containers]:
        if box.name == container and box.resources and box.resources.limits and "memory" in box.resources.limits:
            return f", which is {box.resources.limits['memory']}"
    return ""


def claims_of(client: Kube, pod: Any) -> str:
    """The claims of a pod, each with what it waits for or where its volume is."""
    namespace, lines = pod.metadata.namespace, []
    for name in (one.persistent_volume_claim.claim_name for one in pod.spec.volumes or () if one.persistent_volume_claim):
        try:
            claim = client.core.read_namespaced_persistent_volume_claim(name, namespace)
            said = [event.message for event in events_of(client, namespace, claim.metadata.uid)][-1:]
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
