"""A site brought up through faults: after each, one more run goes on where the last one stopped, and nothing is left of it."""

import subprocess
import time

import pytest

from airavata_runbook import lab
from airavata_runbook.runner import read_steps
from airavata_runbook.site import Site
from airavata_runbook.ssh import disconnect
from tests.chaos.faults import Fault, Scene
from tests.site.conftest import COMMAND, PROJECT, actions, report, runbook


@pytest.fixture
def site_file(tmp_path, monkeypatch):
    """A site file like the lab's, with bare hosts of its own."""
    monkeypatch.setenv("AIRAVATA_RUNBOOK_STATE", str(tmp_path / "state"))
    text = (PROJECT / "parameters" / "lab.yaml").read_text()
    file = tmp_path / "lab.yaml"
    file.write_text(text.replace("10.98.0.", "10.88.0.").replace("lab0", "lab11").replace("name: lab\n", "name: lab-chaos\n"))
    site = Site.load(str(file))
    try:
        lab.up(site)
        yield str(file)
    finally:
        disconnect(site)
        lab.down(site)


def test_a_run_goes_on_where_a_fault_stopped_it(site_file, faults: dict[str, Fault], seed):
    site = Site.load(site_file)
    for chapter, fault in faults.items():
        begun = time.monotonic()
        scene = Scene(site, chapter)
        if fault.before:
            fault.inflict(scene)
        status, said = interrupted_run(site_file, scene, fault, after=seed.randrange(3))
        print(f"{chapter}: {fault.name}: status {status} after {time.monotonic() - begun:.0f} s\n{said}", flush=True)
        fault.judge(chapter, status, said)
        fault.mend(scene)
    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    done = runbook("run", site_file)
    assert done.returncode == 0 and actions(report(site), "changed") == {}


def interrupted_run(site_file: str, scene: Scene, fault: Fault, after: int) -> tuple[int, str]:
    """Status and message of a run that meets the fault in the scene's chapter, `after` so many of its steps."""
    before = newest(scene.site)
    process = subprocess.Popen([COMMAND, "run", site_file], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, start_new_session=True)
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
