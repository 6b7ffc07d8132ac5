"""A site brought up through faults: after each, one more run goes on where the last one stopped. In the end its hosts have
what an undisturbed run gives them (`make chaos`), and a reset finds everything that any of the runs has left.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airavata_runbook.run.runner import read_steps
from airavata_runbook.site import Site
from tests.chaos.faults import Fault, Scene
from tests.full_picture import Picture, difference, left_by_reset, pictures
from tests.labs import COMMAND, PROJECT, lab_hosts, site_like_lab
from tests.site.conftest import actions, report, runbook

# What no two runs have alike: names that running parts give; the content of keys, of what holds one, of a host's identity.
MOVING = re.compile(r"(/opt/registry/data|/var/lib/(containerd|kubelet|cni|etcd|airavata)|/var/log|/var/cache|/run)(/|$)")
RANDOM = re.compile(
    r"""(/etc/(airavata-runbook|kubernetes|ssh|machine-id|cni/net\.d|containerd/certs\.d)
                    |/opt/registry/(auth|cert)|/root/\.ssh)(/|$)""",
    re.VERBOSE,
)


@contextmanager
def bare_lab(folder: Path) -> Iterator[str]:
    """The path of a site file like the lab's, with bare hosts of its own."""
    file = site_like_lab(folder, "lab-chaos", "lab11", "10.88.0.")
    with lab_hosts(file, folder):
        yield str(file)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> dict[str, Picture]:
    """What a run that nothing befalls gives each host, as `alike` has it."""
    with bare_lab(tmp_path_factory.mktemp("undisturbed")) as site_file:
        run_to_the_end(site_file)
        return alike(Site.load(site_file))


@pytest.fixture
def site_file(tmp_path):
    with bare_lab(tmp_path) as file:
        yield file


def test_a_run_goes_on_where_a_fault_stopped_it(request, faults: dict[str, Fault], seed):
    wanted = request.getfixturevalue("undisturbed") if request.config.option.all_faults else None
    site_file = request.getfixturevalue("site_file")  # after the other lab is gone: both have the same addresses
    site = Site.load(site_file)
    bare = pictures(site)
    for chapter, fault in faults.items():
        begun = time.monotonic()
        scene = Scene(site, chapter)
        if fault.before:
            fault.inflict(scene)
        status, said = interrupted_run(site_file, scene, fault, after=seed.randrange(3))
        print(f"{chapter}: {fault.name}: status {status} after {time.monotonic() - begun:.0f} s\n{said}", flush=True)
        fault.judge(chapter, status, said)
        fault.mend(scene)
    run_to_the_end(site_file)
    run_to_the_end(site_file)
    assert actions(report(site), "changed") == {}
    if wanted:
        got = alike(site)
        assert {name: difference(wanted[name], got[name]) for name in wanted} == {name: [] for name in wanted}
    done = runbook("reset", site_file, "--yes", "--data")
    assert done.returncode == 0, done.stdout + done.stderr
    started_again = re.compile("[^ ]+ started: ")  # the hosts that lost their power
    assert [line for line in left_by_reset(bare, pictures(site)) if not started_again.match(line)] == []


def run_to_the_end(site_file: str) -> None:
    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr


def alike(site: Site) -> dict[str, Picture]:
    """Of each host's picture, what two runs must have in common: files with what is in them but the random, packages, units."""

    def kept(section: str, what: str) -> bool:
        return not MOVING.match(what) and not (section == "contents" and RANDOM.match(what))

    return {
        name: {
            section: {what: how for what, how in whole[section].items() if kept(section, what)}
            for section in ("files", "contents", "packages", "marked", "units", "running")
        }
        for name, whole in pictures(site).items()
    }


def interrupted_run(site_file: str, scene: Scene, fault: Fault, after: int) -> tuple[int, str]:
    """Status and message of a run that meets the fault in the scene's chapter, `after` so many of its steps, and ends with it:
    the next fault's chapter has still all to do."""
    before = newest(scene.site)
    unchecked = ["--set", f"ignore_checks=[{fault.check}]"] if fault.check else []  # 01 would find it, and begin nothing
    process = subprocess.Popen(
        [COMMAND, "run", site_file, "--to", scene.chapter, *unchecked],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    scene.pid = process.pid
    try:
        if not fault.before:
            while process.poll() is None and not reached(scene.site, before, scene.chapter, after):
                time.sleep(0.02)
            assert process.poll() is None, f"the run ended before {scene.chapter}: {process.communicate()}"
            fault.inflict(scene)
        _, error = process.communicate(timeout=600)
        return process.returncode, error
    finally:
        process.kill()
        process.wait()


def newest(site: Site) -> str:
    """The folder of the site's newest run, as a name."""
    link = PROJECT / "outputs" / site.name / "latest"
    return link.readlink().name if link.is_symlink() else ""


def reached(site: Site, before: str, chapter: str, after: int) -> bool:
    """Whether a run that is newer than `before` is in a chapter, and so many of its steps have ended."""
    folder = PROJECT / "outputs" / site.name / newest(site)
    if folder.name in ("", before) or not (folder / f"{chapter}.ipynb").is_file():
        return False
    return len(read_steps(folder / f"{chapter}.jsonl")) >= after
