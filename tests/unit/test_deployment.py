"""In which order the components of a stack are sent to the cluster: none before those that it needs are ready."""

from itertools import pairwise
from types import SimpleNamespace

import pytest

from airavata_runbook.chapters.deployment import deploy
from airavata_runbook.resources import Condition, KubeObject
from airavata_runbook.stacks import load
from tests.unit.test_stacks import images, lab

SESSION = SimpleNamespace()


def workload(name: str) -> dict:
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {"template": {"spec": {}}}}


def component(name: str, *needs: str) -> SimpleNamespace:
    """As a Component, of one workload."""
    objects = (workload(name),)
    files = (SimpleNamespace(name="deploy.yaml", text="", objects=objects),)
    return SimpleNamespace(name=name, files=files, objects=objects, waits_for=(("Deployment", name),), needs=needs)


def order(chosen: list, *others: SimpleNamespace) -> list[str]:
    """What is done in order: the name of a component that is sent, or of one that is awaited, with a question mark."""
    stack = SimpleNamespace(namespace="airavata", components=(*others, *chosen))
    return [
        f"{one.awaited.rpartition(' ')[2]}?" if isinstance(one, Condition) else one.name for one in deploy(SESSION, stack, chosen)
    ]


def test_a_component_is_sent_after_those_it_needs_are_ready_and_others_side_by_side():
    chosen = [
        component("registry", "database"),
        component("profile", "registry"),
        component("store", "database"),
        component("api", "profile", "store", "left-out"),
    ]
    assert order(chosen, component("database")) == [
        "database?", "registry", "store", "registry?", "profile", "profile?", "store?", "api", "api?",
    ]  # fmt: skip


def test_what_needs_nothing_starts_at_once_and_is_awaited_once():
    assert order([component("a"), component("b"), component("c", "a", "b")]) == ["a", "b", "a?", "b?", "c", "c?"]


@pytest.mark.parametrize("name", ["classic", "system"])
def test_no_component_of_a_stack_is_sent_before_what_it_needs(name):
    site = lab()
    stack = load(site, images(site), name)
    for airavata in (False, True):
        chosen = [one for one in stack.components if one.airavata == airavata]
        wanted = list(deploy(SESSION, stack, chosen))
        awaited = {one.awaited.rpartition(" ")[2]: position for position, one in enumerate(wanted) if isinstance(one, Condition)}
        sent = {one.name: position for position, one in enumerate(wanted) if isinstance(one, KubeObject)}
        assert set(awaited) >= {name for one in chosen for _, name in one.waits_for}
        for one in chosen:
            needed = [name for need in stack.components if need.name in one.needs for _, name in need.waits_for]
            assert all(awaited[name] < sent[workload] for name in needed for _, workload in one.waits_for)
        labels = [one.label for one in wanted]
        assert len(labels) == len(set(labels))


def test_databases_and_brokers_start_side_by_side():
    site = lab()
    stack = load(site, images(site))
    wanted = list(deploy(SESSION, stack, [one for one in stack.components if not one.airavata]))
    kinds = [isinstance(one, Condition) for one in wanted]
    assert [before for before, after in pairwise(kinds) if before != after] == [False], "all are sent, then all are awaited"
