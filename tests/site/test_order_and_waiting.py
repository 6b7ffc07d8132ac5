"""A component that does not start, in a whole run: its cause is on the terminal and in the report while the run still waits."""

import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from airavata_runbook.site import Site
from tests.full_picture import kubectl
from tests.labs import COMMAND, PROJECT
from tests.site.conftest import runbook

VISIBLE, SLACK = 15, 10  # seconds within which a cause that can be seen must be shown; more of them for a loaded machine
MENDED = 60  # seconds that a run takes to make the site whole
PORTAL = "-l app.kubernetes.io/name=portal"


@contextmanager
def broken(site: Site, site_file: str, broke: str, mend: str) -> Iterator[None]:
    """The portal's pod is made anew while something is broken, by kubectl; afterwards the site is whole again."""
    kubectl(site, broke)
    try:
        kubectl(site, f"-n {site.airavata.namespace} delete pod {PORTAL} --grace-period=1")
        yield
    finally:
        kubectl(site, mend)
        started = time.monotonic()
        done = runbook("run", site_file, "--only", "05")
    # A controller that was refused pods tries again after minutes by itself.
    assert done.returncode == 0 and time.monotonic() - started < MENDED, done.stderr


def when(seen: Callable[[], bool], seconds: float) -> float:
    """The time at which it is seen. Fails after so many seconds."""
    end = time.monotonic() + seconds
    while not seen():
        assert time.monotonic() < end, f"it was not seen within {seconds} s"
        time.sleep(0.2)
    return time.monotonic()


def text(file: Path) -> str:
    return file.read_text() if file.is_file() else ""


def test_a_pod_that_cannot_be_scheduled_is_shown_while_the_run_waits(first, site_file, site, tmp_path):
    nodes, log = " ".join(str(node.address) for node in site.nodes), tmp_path / "log"
    with broken(site, site_file, f"cordon {nodes}", f"uncordon {nodes}"), log.open("wb") as output:
        process = subprocess.Popen([COMMAND, "run", site_file, "--only", "05"], cwd=PROJECT, stdout=output, stderr=output)
        try:
            when(lambda: "outputs/" in text(log), 60)
            folder = PROJECT / re.search(r"outputs/\S+", text(log))[0]
            began = when(lambda: '"step": "backing"' in text(folder / "05-deploy-airavata.jsonl"), 60)
            shown = when(lambda: "unschedulable" in text(log) and "unschedulable" in text(folder / "report.html"), 60)
            assert process.poll() is None, "the run had ended by then"
            assert shown - began < VISIBLE + SLACK, text(log)
            assert "API server and portal: " in text(log) and "FailedScheduling" in text(log), text(log)
            assert process.wait(120) == 1
        finally:
            process.kill()
            process.wait()
    for where in (log, folder / "report.html", folder / "05-deploy-airavata.ipynb"):
        assert "unschedulable" in text(where) and re.search(r"the wait ended after \d+ s", text(where)), where


def test_a_pod_that_its_controller_may_not_create_ends_the_run_with_the_reason(first, site_file, site):
    quota = f"-n {site.airavata.namespace} create quota none --hard=pods=0"
    with broken(site, site_file, quota, f"-n {site.airavata.namespace} delete quota none"):
        done = runbook("run", site_file, "--only", "05")
    assert done.returncode == 1, done.stdout
    ended = re.search(r"the wait ended after (\d+) s", done.stderr)
    assert ended and int(ended[1]) < VISIBLE + SLACK and "exceeded quota: none" in done.stderr, done.stderr
