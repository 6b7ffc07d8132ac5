"""What runs in a cluster, read for checks and drawn: pods by host, services and their endpoints."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.target import everywhere
from airavata_runbook.pictures import hosts as drawn
from airavata_runbook.pictures import services
from airavata_runbook.pictures.svg import Drawn
from airavata_runbook.site import Site

# The first line of the text of what differs in every run; tests/nbval/sanitize.cfg has it too.
PLACED = "Pods by host, as the scheduler placed them:"
# What controllers add to a name: the alphabet of Kubernetes' random names (apimachinery, pkg/util/rand) has no vowels.
SUFFIX = re.compile(r"((-[bcdfghjklmnpqrstvwxz2456789]{8,10})?-[bcdfghjklmnpqrstvwxz2456789]{5}|-\d+)$")
SERVICES, ENDPOINTS = "/api/v1/services", "/apis/discovery.k8s.io/v1/endpointslices"
SERVICE_OF = "kubernetes.io/service-name"  # a label of an EndpointSlice


def pods_in(session: Session, namespaces: Sequence[str]) -> list[Any]:
    """The pods of these namespaces."""
    return [pod for one in namespaces for pod in session.kube().core.list_namespaced_pod(one).items]


def pods_by_host(site: Site, pods: Sequence[Any], notes: Mapping[str, str]) -> Drawn:
    """A picture of pods that were read. notes: of workloads, "STAND-IN"."""
    hosts = {str(node.address): drawn.Host(node.name, (str(node.address),)) for node in everywhere(site)}
    names = {address: host.name for address, host in hosts.items()}
    # A node that the site does not have is one that the check of nodes asks about.
    hosts |= {pod.spec.node_name: drawn.Host(pod.spec.node_name) for pod in pods if pod.spec.node_name not in {*hosts, None}}
    number: defaultdict[tuple[str, str], int] = defaultdict(int)
    found = []
    for pod in sorted(pods, key=lambda pod: (pod.metadata.namespace, pod.metadata.name)):
        workload, place = _workload(pod), pod.spec.node_name or ""
        number[pod.metadata.namespace, workload] += 1
        found.append(
            drawn.Pod(
                f"{workload} {number[pod.metadata.namespace, workload]}",
                pod.metadata.namespace,
                names.get(place, place),
                ready=any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or ()),
                done=pod.status.phase == "Succeeded",
                note=notes.get(workload, ""),
            )
        )
    return drawn.pods_by_host(PLACED, list(hosts.values()), found)


def _workload(pod: Any) -> str:
    """The name of what made a pod; of a Deployment's, without the hash of its template."""
    owner = next(iter(pod.metadata.owner_references or ()), None)
    if not owner:
        return pod.metadata.name
    hashed = (pod.metadata.labels or {}).get("pod-template-hash", "")
    return owner.name.removesuffix(f"-{hashed}") if owner.kind == "ReplicaSet" else owner.name


def read_services(session: Session) -> dict[tuple[str, str], dict]:
    """(namespace, name) → each Service of the cluster, by one request."""
    items = session.kube().request("GET", SERVICES, {})["items"]
    return {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in items}


def services_to_endpoints(session: Session, found: Mapping[tuple[str, str], dict], namespaces: Sequence[str]) -> Drawn:
    """A picture of services that were read, and of their endpoints, which are read now. namespaces: those that are shown."""
    ends: defaultdict[tuple[str, str], dict[str, bool]] = defaultdict(dict)
    for piece in session.kube().request("GET", ENDPOINTS, {})["items"]:
        key = piece["metadata"]["namespace"], piece["metadata"].get("labels", {}).get(SERVICE_OF, "")
        for one in piece.get("endpoints") or ():
            conditions = one.get("conditions", {})
            if not conditions.get("terminating"):
                name = (one.get("targetRef") or {}).get("name") or one["addresses"][0]
                ends[key][name] = conditions.get("ready") is not False
    hosts = {str(node.address): node.name for node in session.site.nodes}
    shown = [
        services.Service(
            name,
            namespace,
            tuple(f"{port['port']}/{port.get('protocol', 'TCP')}" for port in one["spec"].get("ports", ())),
            _numbered(ends[namespace, name], hosts),
            tuple(str(port["nodePort"]) for port in one["spec"].get("ports", ()) if "nodePort" in port),
        )
        for (namespace, name), one in sorted(found.items())
        if namespace in namespaces
    ]
    return services.services_to_endpoints(f"Services of site {session.site.name} and their endpoints", shown)


def _numbered(ends: Mapping[str, bool], hosts: Mapping[str, str]) -> tuple[services.Endpoint, ...]:
    """Pods by their workload's name and a number; what is on a host itself, by the host's name."""
    number: defaultdict[str, int] = defaultdict(int)
    found = []
    for name, ready in sorted(ends.items()):
        if name in hosts:
            found.append(services.Endpoint(f"the host {hosts[name]}", ready))
            continue
        workload = SUFFIX.sub("", name)
        number[workload] += 1
        found.append(services.Endpoint(f"{workload} {number[workload]}", ready))
    return tuple(found)
