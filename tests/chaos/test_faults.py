"""A site is brought up through faults: after each, another run continues where the last one stopped. In the end the hosts
are as after an undisturbed run (`make chaos`), and a reset removes everything that the runs have left.
"""

import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from airavata_runbook.run.report import read_steps
from airavata_runbook.site import Site
from tests.chaos.faults import Fault, Target
from tests.full_picture import Picture, difference, left_by_reset, pictures
from tests.labs import COMMAND, PROJECT, lab_hosts, site_like_lab
from tests.site.conftest import actions, report, runbook

# What differs between any two runs: files of running services; the content of keys, of files with keys or signatures, of
# machine ids.
VOLATILE = re.compile(r"(/opt/registry/data|/var/lib/(containerd|kubelet|cni|etcd|airavata)|/var/log|/var/cache|/run)(/|$)")
RANDOM_CONTENT = re.compile(
    r"""(/etc/(airavata-runbook|kubernetes|ssh|machine-id|cni/net\.d|containerd/certs\.d|apt/keyrings)
                    |/opt/registry/(auth|cert)|/root/\.ssh
                    |/opt/airavata-runbook/repository/InRelease|/var/lib/apt/lists/[^/]*_InRelease)(/|$)""",
    re.VERBOSE,
)


@contextmanager
def bare_lab(folder: Path) -> Iterator[str]:
    """The path of a site file like the lab's, whose bare hosts are running."""
    file = site_like_lab(folder, "lab-chaos", "lab11", "10.88.0.")
    with lab_hosts(file, folder):
        yield str(file)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory) -> dict[str, Picture]:
    """The `comparable` picture of each host after a run without faults."""
    with bare_lab(tmp_path_factory.mktemp("undisturbed")) as site_file:
        run_successfully(site_file)
        return comparable(Site.load(site_file))


@pytest.fixture
def site_file(tmp_path):
    with bare_lab(tmp_path) as file:
        yield file


def test_a_run_continues_where_a_fault_stopped_it(request, faults: dict[str, Fault], seed):
    expected = request.getfixturevalue("undisturbed") if request.config.option.all_faults else None
    site_file = request.getfixturevalue("site_file")  # after the other lab was removed: both have the same addresses
    site = Site.load(site_file)
    bare = pictures(site)
    for chapter, fault in faults.items():
        started = time.monotonic()
        target = Target(site, chapter)
        if fault.before:
            fault.inject(target)
        status, message = interrupted_run(site_file, target, fault, after=seed.randrange(3))
        print(f"{chapter}: {fault.name}: status {status} after {time.monotonic() - started:.0f} s\n{message}", flush=True)
        fault.check_outcome(chapter, status, message)
        fault.recover(target)
    run_successfully(site_file)
    run_successfully(site_file)
    assert actions(report(site), "changed") == {}
    if expected:
        actual = comparable(site)
        assert {name: difference(expected[name], actual[name]) for name in expected} == {name: [] for name in expected}
    done = runbook("reset", site_file, "--yes", "--data")
    assert done.returncode == 0, done.stdout + done.stderr
    restarted = re.compile("[^ ]+ started: ")  # services of the hosts that lost power
    assert [line for line in left_by_reset(bare, pictures(site)) if not restarted.match(line)] == []


def run_successfully(site_file: str) -> None:
    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr


def comparable(site: Site) -> dict[str, Picture]:
    """The part of each host's picture that two runs must have in common: files, their content unless random, packages, units."""

    def kept(section: str, what: str) -> bool:
        return not VOLATILE.match(what) and not (section == "contents" and RANDOM_CONTENT.match(what))

    return {
        name: {
            section: {what: how for what, how in whole[section].items() if kept(section, what)}
            for section in ("files", "contents", "packages", "marked", "units", "running")
        }
        for name, whole in pictures(site).items()
    }


def interrupted_run(site_file: str, target: Target, fault: Fault, after: int) -> tuple[int, str]:
    """Exit status and error output of a run up to the target's chapter, with the fault injected after so many of its steps."""
    before = newest_run(target.site)
    # Otherwise chapter 01 would find the fault and stop the run.
    settings = ["--set", f"ignore_checks=[{fault.check}]"] if fault.check else []
    process = subprocess.Popen(
        [COMMAND, "run", site_file, "--to", target.chapter, *settings],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    target.pid = process.pid
    try:
        if not fault.before:
            while process.poll() is None and not has_reached(target.site, before, target.chapter, after):
                time.sleep(0.02)
            assert process.poll() is None, f"the run ended before {target.chapter}: {process.communicate()}"
            fault.inject(target)
        _, error = process.communicate(timeout=600)
        return process.returncode, error
    finally:
        process.kill()
        process.wait()


def newest_run(site: Site) -> str:
    """The folder name of the site's newest run."""
    link = PROJECT / "outputs" / site.name / "latest"
    return link.readlink().name if link.is_symlink() else ""


def has_reached(site: Site, before: str, chapter: str, after: int) -> bool:
    """Whether a run newer than `before` is in the chapter, and so many of its steps have ended."""
    folder = PROJECT / "outputs" / site.name / newest_run(site)
    if folder.name in ("", before) or not (folder / f"{chapter}.ipynb").is_file():
        return False
    return len(read_steps(folder / f"{chapter}.jsonl")) >= after
