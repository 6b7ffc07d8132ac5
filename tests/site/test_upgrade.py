"""An upgrade of Airavata on a running site, as a user does it: another image in the site file, a run, and the way back.

The images are other builds of the STAND-IN: one with a file that says so, and one whose credential store refuses passwords.
"""

import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airavata_runbook.chapters.api_server import call_api
from airavata_runbook.cluster import releases
from airavata_runbook.cluster.session import session_of
from airavata_runbook.errors import StepFailed
from airavata_runbook.images.layout import open_archive
from airavata_runbook.mirror import images, oci_writer
from airavata_runbook.mirror.recipes import BY_NAME, STAND_IN
from airavata_runbook.site import Site
from airavata_runbook.wellknown import DATABASE_BACKUP
from tests.full_picture import kubectl, over_ssh
from tests.site.conftest import actions, in_database, report, runbook

RELEASE = "/opt/stand-in/release"
ROWS = "SELECT GROUP_CONCAT(a ORDER BY a) FROM app_catalog.upgraded"
BACKUP = ("05-deploy-airavata", "servers")


def build(folder: Path, name: str, file: str, text: str, of: str = "stand-in") -> Path:
    """The image of a STAND-IN with one more layer, which has this file."""
    root = folder / name / "root"
    (root / file.lstrip("/")).parent.mkdir(parents=True)
    (root / file.lstrip("/")).write_text(text)
    layer = oci_writer.write_layer(root, folder / name / "layer.tar.gz")
    config, labels = images.settings(BY_NAME[of], name)
    chain = [*images.chain(of), (layer, folder / name / "layer.tar.gz")]
    oci_writer.write_layout(folder / name / "image", chain, config, labels)
    shutil.rmtree(root)
    return folder / name / "image"


@pytest.fixture(scope="module")
def newer(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("images"), "newer", RELEASE, "another build\n")


@pytest.fixture(scope="module")
def broken(tmp_path_factory) -> Path:
    text, works = (STAND_IN / "credential_store.py").read_text(), "return self.add(SummaryType.PASSWD, passwordCredential)"
    assert works in text
    text = text.replace(works, 'raise Refused("a build with a fault")')
    return build(tmp_path_factory.mktemp("images"), "broken", "/opt/stand-in/credential_store.py", text)


def using(archive: Path) -> tuple[str, ...]:
    return "--set", f"airavata.images.stand-in.archive={archive}", "--set", "verify.disruptive=false"


def digest(archive: Path) -> str:
    return open_archive(archive).digest


def running(site: Site) -> set[str]:
    """The digests of the images of Airavata's servers, as their pods run them."""
    path = "{.items[*].status.containerStatuses[*].imageID}"
    names = kubectl(site, f"-n {site.airavata.namespace} get pods -l airavata-runbook/stand-in -o jsonpath='{path}'")
    return {one.rpartition("@")[2] for one in names.split()}


def kept(site: Site) -> list[str]:
    """The kept releases, the oldest first."""
    return over_ssh(site, site.storage_node.name, f"ls {releases.folder(site)} 2>/dev/null; true").split()


@contextmanager
def calling(site: Site) -> Iterator[list[str]]:
    """A client that calls the API server at its node port, each time anew, until the block ends; the error of each call or ""."""
    session, calls, done = session_of(site), [], threading.Event()

    def call() -> None:
        while not done.wait(0.05):
            try:
                call_api(session)
                calls.append("")
            except StepFailed as error:
                calls.append(error.found or error.message)

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield calls
    finally:
        done.set()
        thread.join()


@pytest.fixture(scope="module")
def upgraded(first, site_file, site, newer):
    """A site with a row in its database, upgraded; returns what it ran before, and the calls of a client meanwhile."""
    assert site.airavata.api_replicas == 2
    over_ssh(site, site.storage_node.name, f"rm -rf {releases.folder(site)}")
    in_database(site, "DROP TABLE IF EXISTS app_catalog.upgraded; CREATE TABLE app_catalog.upgraded (a INT)")
    in_database(site, "INSERT INTO app_catalog.upgraded VALUES (4711)")
    (before,) = running(site)
    plan = runbook("plan", site_file, "--only", "05", *using(newer))
    assert plan.returncode == 0 and DATABASE_BACKUP in plan.stdout and "back up before" in plan.stdout, plan.stdout + plan.stderr
    assert not kept(site)
    with calling(site) as calls:
        done = runbook("run", site_file, "--from", "04", *using(newer))
    assert done.returncode == 0, done.stdout + done.stderr
    return before, calls


def test_no_request_is_lost_while_the_servers_are_replaced(upgraded, site, newer):
    _, calls = upgraded
    assert len(calls) > 100 and [error for error in calls if error] == []
    await_only(site, digest(newer))
    assert "another build" in kubectl(site, f"-n {site.airavata.namespace} exec deployment/api-server -- cat {RELEASE}")


def await_only(site: Site, wanted: str) -> None:
    """Pods that were replaced take some seconds to end."""
    end = time.monotonic() + 60
    while (found := running(site)) != {wanted}:
        assert time.monotonic() < end, found
        time.sleep(1)


def test_the_databases_were_backed_up_before_for_root_alone(upgraded, site):
    done = {key: text for key, text in actions(report(site), "changed").items() if key[3] == DATABASE_BACKUP}
    ((where, text),) = done.items()
    (name,) = kept(site)
    assert where[:2] == BACKUP and "api-server" in text and f"kept as {name}" in text
    folder = releases.folder(site)
    host = site.storage_node.name
    assert over_ssh(site, host, f"stat -c '%a %U' {folder} {folder}/{name}").split() == ["700", "root"] * 2
    dump = over_ssh(
        site, host, f"zcat {folder}/{name}/databases.sql.gz | grep -a -A1 -e 'INSERT INTO `upgraded`' -e 'Dump completed'"
    )
    assert "(4711)" in dump and "Dump completed" in dump
    assert upgraded[0] in over_ssh(site, host, f"cat {folder}/{name}/release.json")


@pytest.fixture(scope="module")
def rolled_back(upgraded, site_file, site, broken):
    """The output of a rollback after an upgrade that 06-verify has refused; a row was written after that."""
    done = runbook("run", site_file, "--from", "04", *using(broken))
    assert done.returncode == 1 and "a build with a fault" in done.stdout + done.stderr, done.stdout + done.stderr
    assert "chapter 06-verify failed" in done.stderr and f"airavata-runbook rollback {site.name}" in done.stderr
    await_only(site, digest(broken))
    in_database(site, "INSERT INTO app_catalog.upgraded VALUES (4712)")
    done = runbook("rollback", site_file, "--yes", *using(broken))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_rollback_brings_the_images_back_and_leaves_the_rows(rolled_back, site, newer):
    await_only(site, digest(newer))
    assert in_database(site, ROWS) == "4711,4712"
    assert "and verified" in rolled_back and "THE NEXT RUN UPGRADES AGAIN" in rolled_back and len(kept(site)) == 2


def pinned(output: str) -> str:
    """The reference that the site file should name, as a rollback prints it."""
    (line,) = [line for line in output.splitlines() if line.startswith("  airavata.images.stand-in: {pull: ")]
    return line.partition("pull: ")[2].rstrip("}")


def test_a_run_with_what_the_rollback_said_replaces_nothing(rolled_back, site_file, site, newer):
    done = runbook(
        "run", site_file, "--from", "04", "--to", "05", "--set", f"airavata.images.stand-in.pull={pinned(rolled_back)}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    changed = actions(report(site), "changed")
    assert {key[:2] for key in changed} <= {("04-registry", "images")} and running(site) == {digest(newer)}, changed


def test_a_rollback_with_databases_loads_the_dump_and_keeps_what_was_there(rolled_back, upgraded, site_file, site):
    old = kept(site)
    words = ("--set", f"airavata.images.stand-in.pull={pinned(rolled_back)}", "--to", old[0], "--with-databases", "--yes")
    done = runbook("rollback", site_file, *words)
    assert done.returncode == 0 and "WHAT WAS WRITTEN SINCE THEN IS LOST" in done.stdout, done.stdout + done.stderr
    await_only(site, upgraded[0])
    assert in_database(site, ROWS) == "4711"
    (new,) = set(kept(site)) - set(old)
    last = over_ssh(
        site,
        site.storage_node.name,
        f"zcat {releases.folder(site)}/{new}/databases.sql.gz | grep -a -A2 'INSERT INTO `upgraded`'",
    )
    assert "(4712)" in last
    done = runbook("run", site_file, "--from", "04", "--to", "05")
    changed = actions(report(site), "changed")
    assert done.returncode == 0 and {key[:2] for key in changed} <= {("04-registry", "images")}, changed
    in_database(site, "DROP TABLE app_catalog.upgraded")
