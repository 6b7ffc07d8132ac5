"""An artefact of the cache is built once, however many need it, and is never there in part."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from airavata_runbook.local import files
from airavata_runbook.local.once import build_once
from airavata_runbook.mirror import build as component_builds
from airavata_runbook.mirror import image_steps, images, oci_writer, packages
from airavata_runbook.mirror.components import BY_NAME

# Builds a folder of one file, slowly; each build adds a line to the log.
BUILD = """
import sys, time
from pathlib import Path
from airavata_runbook.local.once import build_once

target, log = Path(sys.argv[1]), Path(sys.argv[2])

def build(part):
    part.mkdir()
    (part / "begun").touch()
    with log.open("a") as file:
        file.write("built\\n")
    time.sleep(float(sys.argv[3]))
    (part / "done").touch()

build_once(target, (target / "done").exists, build)
assert (target / "done").exists()
"""


def builder(target: Path, seconds: float) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", BUILD, target, target.parent / "log", str(seconds)])


def at_once(work: Callable[[], object], count: int = 4) -> list[object]:
    """What `work` returns in so many threads that begin together."""
    begin = threading.Barrier(count)
    with ThreadPoolExecutor(count) as pool:
        return [one.result() for one in [pool.submit(lambda: (begin.wait(), work())[1]) for _ in range(count)]]


def artefacts(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_processes_that_need_the_same_artefact_build_it_once(tmp_path):
    processes = [builder(tmp_path / "tool", 0.3) for _ in range(4)]
    assert [process.wait(30) for process in processes] == [0] * 4
    assert (tmp_path / "log").read_text() == "built\n"
    assert artefacts(tmp_path) == ["log", "tool"]


def test_a_builder_that_is_killed_leaves_the_lock_free_and_no_half_artefact(tmp_path):
    target = tmp_path / "tool"
    killed = builder(target, 60)
    while not (tmp_path / ".tool.part" / "begun").exists():
        assert killed.poll() is None
        time.sleep(0.02)
    waiting = builder(target, 0)
    time.sleep(0.3)
    assert waiting.poll() is None and not target.exists(), "it waits for the first one"
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert waiting.wait(30) == 0
    assert artefacts(tmp_path) == ["log", "tool"] and sorted(os.listdir(target)) == ["begun", "done"]


def test_a_build_that_fails_leaves_the_artefact_as_it_was_and_nothing_else(tmp_path):
    target = tmp_path / "tool"
    target.write_text("damaged")

    def fails(part: Path) -> None:
        part.write_text("half")
        raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space left"):
        build_once(target, lambda: False, fails)
    assert artefacts(tmp_path) == ["tool"] and target.read_text() == "damaged"
    build_once(target, lambda: False, lambda part: part.mkdir())
    assert target.is_dir(), "a file is replaced by a folder"


def test_threads_that_need_the_same_component_package_or_image_build_it_once(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path))
    built: list[str] = []

    def slowly(name: str) -> None:
        built.append(name)
        time.sleep(0.2)

    def compile_component(component, part):
        slowly(component.name)
        part.mkdir()
        (part / "tool").write_text("binary")
        (part / "digests.json").write_text(f'{{"tool": "{files.digest(part / "tool")}"}}')

    def pack(package, target):
        slowly(package.name)
        target.write_text("package")

    def apply(recipe, root):
        slowly(recipe.name)
        (root / recipe.name).write_text("file")

    monkeypatch.setattr(component_builds, "_build", compile_component)
    monkeypatch.setattr(packages, "_pack", pack)
    monkeypatch.setattr(image_steps, "apply", apply)
    monkeypatch.setattr(image_steps, "package_version", lambda root, package: "1.0")
    monkeypatch.setattr(oci_writer, "unpack", lambda layer, file, root: None)
    monkeypatch.setattr(images.os, "geteuid", lambda: 0)

    component = replace(BY_NAME["etcd"], version="0")
    assert len({str(one) for one in at_once(lambda: component_builds.build(component))}) == 1
    assert len({one.sha256 for (one,) in at_once(lambda: packages.make(["etcd"]))}) == 1
    assert len({str(one["toolbox"]) for one in at_once(lambda: images.build(["toolbox"]))}) == 1
    assert built == ["etcd", "etcd", "base", "toolbox"]
