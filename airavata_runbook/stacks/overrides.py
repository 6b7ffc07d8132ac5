"""What a site has otherwise than its stack (airavata.components), put into a component's rendered objects."""

from collections.abc import Iterator, Sequence

from airavata_runbook.site import Site
from airavata_runbook.site.component import ComponentSettings, Resources
from airavata_runbook.site.fields import NODE_PORT_RANGE
from airavata_runbook.site.messages import nearest
from airavata_runbook.stacks.render import pod_of


def apply(site: Site, component: str, objects: Sequence[dict]) -> list[str]:
    """Change a component's objects as the site has them; its image is rendered already. Returns what cannot be done, a line each:
    field, what was found and what is needed."""
    own = site.airavata.components.get(component)
    if own is None:
        return []
    problems = [*_replicas(objects, own), *_container(component, objects, own), *_ports(site, objects, own)]
    return [f"airavata.components.{component}.{line}" for line in problems]


def _replicas(objects: Sequence[dict], own: ComponentSettings) -> Iterator[str]:
    scaled = [one for one in objects if one["kind"] in ("Deployment", "StatefulSet")]
    if own.replicas is None:
        return
    if len(scaled) != 1:
        yield f"replicas: found {len(scaled)} Deployments and StatefulSets in the component; needed: one"
        return
    scaled[0]["spec"]["replicas"] = own.replicas


def _container(component: str, objects: Sequence[dict], own: ComponentSettings) -> Iterator[str]:
    if not own.env and own.resources == Resources():
        return
    boxes = [box for one in objects if (pod := pod_of(one)) for box in pod["spec"]["containers"]]
    chosen = boxes if len(boxes) == 1 else [box for box in boxes if box["name"] == component]
    if len(chosen) != 1:
        names = ", ".join(sorted(box["name"] for box in boxes)) or "none"
        yield f"env, resources: found the containers {names}; needed: one container, or one that is named {component}"
        return
    (box,) = chosen
    for group, amounts in (("requests", own.resources.requests), ("limits", own.resources.limits)):
        if given := amounts.model_dump(exclude_none=True):
            box.setdefault("resources", {}).setdefault(group, {}).update(given)
    entries = {entry["name"]: entry for entry in box.setdefault("env", []) or []}
    for name, value in own.env.items():
        if "valueFrom" in entries.get(name, {}):
            yield f"env.{name}: found a value that the stack takes from {_source(entries[name])}; needed: another variable"
        else:
            entries[name] = {"name": name, "value": value}
    box["env"] = list(entries.values())
    if not box["env"]:
        del box["env"]


def _source(entry: dict) -> str:
    sources = {"secretKeyRef": "a Secret: give that as airavata.secrets.NAME", "configMapKeyRef": "a ConfigMap"}
    return next((sources[key] for key in entry["valueFrom"] if key in sources), "the pod itself")


def _ports(site: Site, objects: Sequence[dict], own: ComponentSettings) -> Iterator[str]:
    """Not those of headless Services: there clients reach the pods' own ports."""
    services = [one["spec"] for one in objects if one["kind"] == "Service" and one["spec"].get("clusterIP") != "None"]
    known = {port.get("name", ""): port for spec in services for port in spec["ports"]}
    fields = {
        site.airavata.unified.keycloak_node_port: "unified.keycloak_node_port",  # the first: other stacks have not got it
        site.airavata.portal_node_port: "portal_node_port",
        site.airavata.api_node_port: "api_node_port",
    }
    for name, number in own.ports.items():
        port = known.get(name)
        if port is None:
            yield f"ports.{name}: found no such port of its Services; {nearest(name, sorted(filter(None, known)))}"
        elif "nodePort" not in port:
            port.setdefault("targetPort", port["port"])
            port["port"] = number
        elif port["nodePort"] in fields:
            yield f"ports.{name}: needs airavata.{fields[port['nodePort']]} in its place"
        elif number not in NODE_PORT_RANGE:
            yield f"ports.{name}: found {number}; needed: {NODE_PORT_RANGE[0]} to {NODE_PORT_RANGE[-1]}, on every host"
        else:
            port["nodePort"] = number
