"""An upgrade of Airavata: when the databases are backed up before it, what is kept, and what a rollback goes back to."""

import copy
import gzip
import json
import re
from types import SimpleNamespace

import pytest

from airavata_runbook import stacks
from airavata_runbook.chapters import site_stack
from airavata_runbook.chapters.site_inputs import site_input
from airavata_runbook.checks.references import check_references
from airavata_runbook.cluster import releases
from airavata_runbook.cluster.mariadb import Database
from airavata_runbook.cluster.releases import Release
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.errors import NotYet, SiteError, StepFailed
from airavata_runbook.images.archive import BadImage
from airavata_runbook.resources import DatabaseBackup, Obsolete
from airavata_runbook.resources.left_out import DEPLOYMENT, STATEFUL_SET
from airavata_runbook.run import rollback
from airavata_runbook.site import Site
from airavata_runbook.stacks.render import pod_of
from tests.unit.test_changed_cluster import Cluster, context
from tests.unit.test_engine import ThisMachine
from tests.unit.test_output import Machine

REGISTRY = "registry.lab:5000"
OLD, NEW, OTHER = (f"sha256:{digit * 64}" for digit in "abc")
LAB = Site.load("lab")


def stack(site: Site = LAB, digest: str = NEW, tag: str = "1") -> stacks.Stack:
    names = stacks.image_names(site) | {"stand-in", "pause", "coredns", "toolbox"}
    return stacks.load(site, {name: f"{REGISTRY}/{name}:{tag}@{digest}" for name in names})


def live(of: stacks.Stack, **status) -> dict:
    """The workloads of a stack as the cluster has them."""
    found = {}
    for component in of.components:
        for manifest in component.objects:
            if pod_of(manifest) and manifest["kind"] != "Job":
                one = copy.deepcopy(manifest)
                one["metadata"] |= {"generation": 1, "managedFields": [{"manager": "airavata-runbook"}], "uid": "1"}
                done = {"conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}]}
                one["status"] = {"observedGeneration": 1, "currentRevision": "1", "updateRevision": "1"} | done | status
                found[one["kind"], one["metadata"]["name"]] = one
    return found


def release(digest: str = OLD, **fields) -> Release:
    running = releases.running(stack(digest=digest), live(stack(digest=digest)))
    return Release(**{**vars(running), **fields})


def change(workloads: dict, of: stacks.Stack | None = None):
    node = SimpleNamespace(name="worker")
    session = SimpleNamespace(site=LAB, hosts={"worker": node})
    return DatabaseBackup(LAB, of or stack()).change(Found(answer=workloads), Context(node, session))


def test_a_changed_image_is_preceded_by_a_backup_which_says_what_is_replaced_and_how():
    found = change(live(stack(digest=OLD)))
    assert "api-server" in found.summary and "mariadb" not in found.summary
    assert f"api-server: stand-in:1 ({OLD[:19]}) → stand-in:1 ({NEW[:19]}), replaced without a gap\n" in found.detail
    assert "/var/lib/airavata/before-upgrades on worker" in found.command and "--single-transaction" in found.command


def test_nothing_is_backed_up_for_a_first_deployment_the_same_image_or_another_tag_of_it():
    assert change({}) is None and change(live(stack())) is None and change(live(stack(tag="2"))) is None
    only_backing = {key: one for key, one in live(stack(digest=OLD)).items() if key[0] == "StatefulSet"}
    assert change(only_backing) is None


def test_an_image_whose_digest_is_not_known_yet_is_another_one_by_its_tag():
    unknown = stacks.load(LAB, {name: f"{REGISTRY}/{name}:2" for name in stacks.image_names(LAB) | {"stand-in"}})
    assert "api-server" in change(live(stack()), unknown).summary
    assert change(live(stack(tag="2")), unknown) is None


def test_one_replica_that_ends_first_and_a_server_that_is_cut_off_are_named():
    of = stack()
    manifests = {one.name: next(pod for pod in one.objects if pod_of(pod)) for one in of.components}
    manifests["gfac"]["spec"]["strategy"] = {"type": "Recreate"}
    del manifests["portal"]["spec"]["template"]["spec"]["containers"][0]["lifecycle"]
    lines = {line.partition(":")[0]: line for line in change(live(stack(digest=OLD)), of).detail.splitlines()}
    assert lines["gfac"].endswith("one replica, which ends before the new one starts: no answers until that is ready")
    assert lines["portal"].endswith("requests may be cut off") and lines["api-server"].endswith("without a gap")


def test_every_server_of_the_classic_stack_is_replaced_without_a_gap():
    for _, manifest in releases.servers(stack()):
        assert manifest["spec"]["strategy"] == {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}, manifest["metadata"]
        for box in manifest["spec"]["template"]["spec"]["containers"]:
            assert box["readinessProbe"] and box["lifecycle"]["preStop"]["sleep"]["seconds"] >= 5


def test_the_unified_server_ends_by_itself_within_its_grace_period_while_requests_keep_coming():
    """What is in its jar, 40 s, is longer than that: it was killed in the middle of them (seen with the real server)."""
    of = stack(Site.load("lab-unified"))
    (server,) = (manifest["spec"]["template"]["spec"] for _, manifest in releases.servers(of))
    settings = of.settings["airavata-server"]["site.properties"].text(lambda secret, key: "password")
    (longest,) = re.findall(r"^armeria\.graceful-shutdown-timeout-millis=(\d+)$", settings, re.MULTILINE)
    before = server["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert before + int(longest) / 1000 + 10 <= server["terminationGracePeriodSeconds"], "10 s: its connections are closed"


@pytest.mark.parametrize("reason", ["ReplicaSetUpdated", "ProgressDeadlineExceeded"])
def test_a_release_that_was_not_rolled_out_to_its_end_is_not_whole(reason):
    assert releases.running(stack(), live(stack(), readyReplicas=0)).whole, "that a pod is not ready just now does not matter"
    assert not releases.running(stack(), live(stack(), conditions=[{"type": "Progressing", "reason": reason}])).whole
    assert not releases.running(stack(), live(stack(), observedGeneration=0)).whole
    own = next(manifest for _, manifest in releases.servers(stack()))
    own |= {"kind": "StatefulSet", "status": {"currentRevision": "1", "updateRevision": "2"}}
    assert not releases._is_whole(own)


def test_of_many_the_newest_are_kept_and_the_last_that_was_whole():
    made = [Release({}, name=f"2026113{number}", whole=number == 1) for number in (5, 4, 3, 2, 1, 0)]
    assert [one.name[-1] for one in releases.outdated(made)] == ["2", "0"]
    assert releases.outdated(made[:3]) == []


class Host(ThisMachine):
    start = Machine.start
    block, cut = 1 << 16, None

    def run(self, script: str, timeout: float = 0):
        return super().run(script)


class Dump(Database):
    def __init__(self, blocks):
        self.__dict__["blocks"] = blocks

    def dump(self, master):
        for block in self.blocks:
            if isinstance(block, BaseException):
                raise block
            yield block


@pytest.fixture
def session(tmp_path):
    site = Site.load("lab", {"airavata.storage_path": str(tmp_path / "stored")})
    (tmp_path / "stored" / "mariadb").mkdir(parents=True)
    return SimpleNamespace(site=site, hosts={"worker": Host()}, master=None)


def test_a_backup_has_the_dump_the_images_and_the_manifests_for_root_alone(session, tmp_path):
    said = []
    workloads = live(stack(digest=OLD))
    made = releases.keep(session, release(whole=False), workloads, Dump([b"some ", b"rows"]), said.append)
    folder = tmp_path / "stored" / "before-upgrades"
    assert {one.name for one in folder.iterdir()} == {made.name} and folder.stat().st_mode & 0o777 == 0o700
    assert gzip.decompress((folder / made.name / releases.DUMP).read_bytes()) == b"some rows" and said == [5, 9]
    assert not [one for one in (folder / made.name).iterdir() if one.stat().st_mode & 0o077]
    objects = json.loads((folder / made.name / "workloads.json").read_text())["items"]
    assert len(objects) == len(workloads) and not {"status", "uid"} & {*objects[0], *objects[0]["metadata"]}
    (found,) = releases.kept(session)
    assert found == made and (found.whole, found.images, found.stand_ins) == (False, release().images, release().stand_ins)
    assert "api-server" in found.stand_ins and found.size > 0
    releases.check_dump(session, found)
    assert b"".join(releases.dump_of(session, found)) == b"some rows"
    (folder / made.name / releases.DUMP).write_bytes(gzip.compress(b"some rows")[:-4])
    with pytest.raises(StepFailed, match="before-upgrades on worker"):
        releases.check_dump(session, found)


@pytest.mark.parametrize("end", [StepFailed("the dump is incomplete"), KeyboardInterrupt()])
def test_nothing_is_kept_of_a_dump_that_does_not_come_to_its_end(session, tmp_path, end):
    with pytest.raises(type(end)):
        releases.keep(session, release(), {}, Dump([b"some", end]))
    assert not [*(tmp_path / "stored" / "before-upgrades").iterdir()] and releases.kept(session) == []


def test_too_little_space_is_told_before_the_dump(session, tmp_path, monkeypatch):
    monkeypatch.setattr(releases, "SPARE", 1 << 60)
    with pytest.raises(StepFailed, match="(?s)too little disk space.*MiB free"):
        releases.keep(session, release(), {}, Dump([b"some"]))
    assert not (tmp_path / "stored" / "before-upgrades").exists()


def test_a_failing_dump_stops_the_upgrade_and_says_that_nothing_was_upgraded(session):
    resource = DatabaseBackup(LAB, stack())

    def fail(*words):
        raise StepFailed("the dump of the databases is incomplete")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(releases, "keep", fail)
        found = resource.change(Found(answer=live(stack(digest=OLD))), Context(session.hosts["worker"], session))
        with pytest.raises(StepFailed, match="nothing was upgraded"):
            found.call()
        patch.setattr(releases, "keep", lambda *words: release(name="20261130T070101Z"))
        assert "20261130T070101Z" in found.call()
    assert resource.change(Found(answer=live(stack(digest=OLD))), Context(session.hosts["worker"], session)) is None


def test_where_nothing_changes_nothing_more_is_asked():
    cluster = Cluster(*live(stack()).values())
    asked = []
    cluster.request = lambda *words, request=cluster.request: asked.append(words) or request(*words)
    here = context(cluster)
    Obsolete("airavata", frozenset(live(stack())), (DEPLOYMENT, STATEFUL_SET)).ask(here)
    before = len(asked)
    resource = DatabaseBackup(LAB, stack())
    assert resource.change(Found(answer=resource.ask(here)), here) is None and before == len(asked) > 0


def test_a_plan_without_a_cluster_shows_no_backup(session):
    host = SimpleNamespace(name="master")
    planning = Context(host, session, planning=True, touched={"service kube-apiserver"})
    assert DatabaseBackup(LAB, stack()).ask(planning) == {}
    with pytest.raises(NotYet):
        DatabaseBackup(LAB, stack()).ask(Context(host, SimpleNamespace(kube=raise_not_yet), together=lambda key, ask: ask()))


def raise_not_yet():
    raise NotYet("the API server runs")


KEPT = [
    release(OTHER, name="20261130T090000Z", whole=False),
    release(OLD, name="20261130T080000Z", size=1 << 20),
    release(OTHER, name="20261129T080000Z"),
]


@pytest.mark.parametrize(
    "runs, to, chosen",
    [
        (release(NEW), "", "20261130T080000Z"),
        (release(OLD), "", "20261129T080000Z"),
        (release(OLD, whole=False), "", "20261130T080000Z"),
        (None, "", "20261130T080000Z"),
        (release(NEW), "20261130T090000Z", "20261130T090000Z"),
    ],
)
def test_a_rollback_goes_to_the_last_release_that_was_whole_and_is_another_one(monkeypatch, capsys, runs, to, chosen):
    monkeypatch.setattr(releases, "kept", lambda session: KEPT)
    assert rollback._chosen(SimpleNamespace(site=LAB), runs, to).name == chosen
    assert "20261130T080000Z, dump of 1.0 MiB\n" in capsys.readouterr().out


def test_where_there_is_nothing_to_go_back_to_it_is_said(monkeypatch):
    monkeypatch.setattr(releases, "kept", lambda session: KEPT[:1])
    with pytest.raises(SiteError, match="no release before this one"):
        rollback._chosen(SimpleNamespace(site=LAB), release(NEW), "")
    with pytest.raises(SiteError, match="(?s)no such release is kept.*20261130T090000Z"):
        rollback._chosen(SimpleNamespace(site=LAB), release(NEW), "20261130T07")


def pins(monkeypatch, site: Site, of: Release) -> dict:
    names = stacks.image_names(site) | {"stand-in", "pause", "coredns", "toolbox"}
    wanted = {name: f"{REGISTRY}/{name}:2@{NEW}" for name in names}
    monkeypatch.setattr(rollback, "references", lambda session: wanted)
    monkeypatch.setattr(rollback, "stack_of", lambda site, references: stacks.load(site, references))
    return rollback._pins(SimpleNamespace(site=site), stack(site), of)


def test_the_site_is_pinned_to_the_images_that_ran_and_only_where_it_names_others(monkeypatch):
    found = pins(monkeypatch, LAB, release())
    assert found == {"airavata.images.stand-in": {"pull": f"{REGISTRY}/stand-in:1@{OLD}"}}
    assert pins(monkeypatch, LAB, release(NEW)) == {}
    before = Site.load(LAB, {**found, "verify.disruptive": False})
    image = site_stack.site_image(before, "stand-in")
    assert (image.reference, image.here()) == (f"{REGISTRY}/stand-in:1", OLD) and not before.verify.disruptive
    assert all(
        one.stand_in
        for one in stacks.load(before, dict.fromkeys(("stand-in", *stacks.image_names(before)), f"{REGISTRY}/x:1")).components
        if one.airavata
    )


def test_a_release_of_another_kind_is_not_brought_back_by_images(monkeypatch):
    own = Site.load("lab", {"airavata.images.portal": {"pull": f"example.org/portal@{NEW}"}})
    with pytest.raises(SiteError, match="(?s)component portal.*an image for it, and the STAND-IN ran before"):
        pins(monkeypatch, own, release())


def test_a_release_with_an_image_of_another_name_is_brought_back_by_the_site_file(monkeypatch):
    new = {"pull": f"example.org/x@{NEW}"}
    then = Site.load("lab", {"airavata.images.portal-1": new, "airavata.components.portal.image": "portal-1"})
    now = Site.load("lab", {"airavata.images.portal-2": new, "airavata.components.portal.image": "portal-2"})
    ran = releases.running(stack(then, OLD), live(stack(then, OLD)))
    with pytest.raises(SiteError, match="(?s)component portal.*portal-2 for it, and portal-1 ran.*back to what it was"):
        pins(monkeypatch, now, Release({"portal": ran.images["portal"]}))


def test_the_jar_of_the_unified_server_is_pinned_where_it_is_named(monkeypatch, tmp_path):
    image = {"pull": f"example.org/server@{NEW}"}
    site = Site.load("lab-unified", {"airavata.unified.server": image})
    ran = releases.running(stack(site, OLD), live(stack(site, OLD)))
    found = pins(monkeypatch, site, ran)
    assert found == {"airavata.unified.server": {"pull": f"{REGISTRY}/airavata-server:1@{OLD}"}}
    assert site_input(Site.load(site, found), "schema_sql") == b"", "its tables are there"


def test_an_image_of_the_private_registry_is_pulled_from_nowhere_and_has_its_own_name():
    reference = f"{REGISTRY}/stand-in:some@{OLD}"
    site = Site.load("lab", {"airavata.images.stand-in": {"pull": reference}})
    (checked,) = [one for one in check_references(site, registries=True) if one.field == "airavata.images.stand-in"]
    assert not checked.problem and "in the private registry" in checked.state
    with pytest.raises(BadImage, match="(?s)private registry has no such image.*stand-in:some"):
        site_stack.site_image(site, "stand-in").layout()
    untagged = Site.load("lab", {"airavata.images.stand-in": {"pull": f"{REGISTRY}/stand-in", "digest": OLD}})
    assert site_stack.site_image(untagged, "stand-in").reference == f"{REGISTRY}/stand-in:sha-{'a' * 16}"
    wrong = Site.load("lab", {"airavata.images.stand-in": {"pull": f"{REGISTRY}/other@{OLD}"}})
    with pytest.raises(SiteError, match="another name there"):
        site_stack.site_image(wrong, "stand-in")


def test_the_question_says_what_is_lost(capsys):
    rollback._print_question(LAB, release(NEW), KEPT[1], with_databases=False)
    plain = capsys.readouterr().out
    assert (
        "until 2026-11-30 08:00:00 UTC" in plain
        and f"registry-server, sharing-registry: stand-in:1 ({NEW[:19]}) → stand-in:1 ({OLD[:19]})\n" in plain
    )
    assert "the databases stay as they are" in plain and "LOST" not in plain
    rollback._print_question(LAB, release(NEW), KEPT[1], with_databases=True)
    assert "WHAT WAS WRITTEN SINCE THEN IS LOST" in capsys.readouterr().out
