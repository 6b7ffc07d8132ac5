"""06-verify compares what runs with what is named, by digest."""

from types import SimpleNamespace

import pytest

from airavata_runbook import Site
from airavata_runbook.chapters import running_images as module
from airavata_runbook.chapters import verify
from airavata_runbook.chapters.running_images import running_images
from airavata_runbook.errors import StepFailed
from airavata_runbook.hosts.host import Result
from tests.unit.sessions import FakeHost, open_session

ONE, OTHER, PAUSE = ("sha256:" + letter * 64 for letter in "abc")
COREDNS = f"registry.lab:5000/coredns:recipe-1@{ONE}"
SANDBOX = f"registry.lab:5000/pause@{PAUSE}"


def pod(image: str, runs: str) -> SimpleNamespace:
    status = [SimpleNamespace(name="coredns", image_id=runs)]
    return SimpleNamespace(
        metadata=SimpleNamespace(name="coredns-1", deletion_timestamp=None),
        spec=SimpleNamespace(init_containers=None, containers=[SimpleNamespace(name="coredns", image=image)]),
        status=SimpleNamespace(init_container_statuses=None, container_statuses=status),
    )


class Sandboxes(FakeHost):
    def __init__(self, name: str, *images: str):
        self.name, self.images = name, images

    def pause(self, seconds: float) -> None:
        pass

    def run(self, script: str) -> Result:
        return Result("".join(f"{image}\n" for image in self.images).encode())


@pytest.fixture
def session(monkeypatch):
    def of(one: SimpleNamespace, *sandboxes: str):
        site = Site.load("lab")
        made = open_session(
            monkeypatch, site, {"master": Sandboxes("master", *sandboxes), "worker": Sandboxes("worker", SANDBOX)}
        )
        core = SimpleNamespace(list_namespaced_pod=lambda namespace: SimpleNamespace(items=[one]))
        monkeypatch.setattr(made, "kube", lambda: SimpleNamespace(core=core))
        named = {"coredns": COREDNS, "pause": f"registry.lab:5000/pause:recipe-1@{PAUSE}"}
        monkeypatch.setattr(module, "references", lambda session: named)
        return made

    return of


def test_containers_are_counted_by_the_image_that_they_run(session):
    rows, problems = running_images(session(pod(COREDNS, f"registry.lab:5000/coredns@{ONE}"), SANDBOX, SANDBOX), ["kube-system"])
    assert rows == [["coredns", ONE, "1"], ["pause", PAUSE, "3"]] and problems == []


def test_a_pod_that_has_been_replaced_is_awaited_and_does_not_count(session):
    old, new = (
        pod("registry.lab:5000/coredns:1", f"registry.lab:5000/coredns@{OTHER}"),
        pod(COREDNS, f"registry.lab:5000/coredns@{ONE}"),
    )
    old.metadata.deletion_timestamp, looks = "2026-11-25T19:00:00Z", [[old, new], [old, new]]
    made = session(new, SANDBOX)
    made.kube().core.list_namespaced_pod = lambda namespace: SimpleNamespace(items=looks.pop(0) if looks else [new])
    assert running_images(made, ["kube-system"])[1] == []


@pytest.mark.parametrize(
    ("one", "sandbox", "found"),
    [
        (pod(COREDNS, f"registry.lab:5000/coredns@{OTHER}"), SANDBOX, f"coredns is named {COREDNS} and runs registry.lab"),
        (pod(COREDNS.partition("@")[0], f"registry.lab:5000/coredns@{ONE}"), SANDBOX, "coredns is named registry.lab:5000/"),
        (pod(COREDNS.replace(ONE, OTHER), f"x@{OTHER}"), SANDBOX, f"kube-system/coredns-1: coredns is named {COREDNS[:20]}"),
        (pod(COREDNS, f"x@{ONE}"), "registry.lab:5000/pause:3.10", "master: a sandbox runs registry.lab:5000/pause:3.10"),
        (pod(COREDNS, f"x@{ONE}"), f"evil.org/pause@{PAUSE}", "master: a sandbox runs evil.org/pause@"),
    ],
)
def test_what_runs_by_a_tag_or_another_digest_is_named_with_the_way_on(session, one, sandbox, found):
    made = session(one, sandbox)
    (problem,) = running_images(made, ["kube-system"])[1]
    assert found in problem and ("delete pod coredns-1" in problem or "delete its pod" in problem)
    with pytest.raises(StepFailed, match="containers run other images"):
        verify.images.look(made)


def test_a_sandbox_of_an_earlier_pause_image_is_shown_and_is_no_fault(session):
    earlier = SANDBOX.replace(PAUSE, OTHER)
    rows, problems = running_images(session(pod(COREDNS, f"x@{ONE}"), earlier), ["kube-system"])
    assert ["pause", OTHER, "1"] in rows and problems == []
