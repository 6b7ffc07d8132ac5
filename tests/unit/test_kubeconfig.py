"""Where kubectl comes from (the kubeconfig itself is tested on a lab host)."""

import sys
from pathlib import Path

import pytest

from airavata_runbook.mirror.build import folder
from airavata_runbook.mirror.components import BY_NAME
from airavata_runbook.mirror.kubectl import ensure_kubectl


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """An empty PATH, an empty cache and a virtual environment of its own."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin" / "python"))
    return tmp_path


def program(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_none_where_neither_path_nor_cache_has_one(machine):
    assert ensure_kubectl() is None


def test_the_mirrors_own_is_linked_beside_python_and_follows_a_new_version(machine):
    built = program(folder(BY_NAME["kubernetes"]) / "kubectl")
    (machine / "bin" / "kubectl").symlink_to(machine / "an older version that is gone")
    assert ensure_kubectl() == machine / "bin" / "kubectl"
    assert (machine / "bin" / "kubectl").resolve() == built.resolve()
    assert ensure_kubectl() == machine / "bin" / "kubectl"


def test_one_on_the_path_is_left_alone(machine):
    own = program(machine / "elsewhere" / "kubectl")
    program(folder(BY_NAME["kubernetes"]) / "kubectl")
    assert ensure_kubectl() == own
    assert not (machine / "bin" / "kubectl").exists()
