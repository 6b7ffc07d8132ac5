"""Fixtures of more than one module."""

import pytest

from airavata_runbook.mirror import choice
from tests.unit.small_project import SITE


@pytest.fixture(autouse=True)
def no_release_host(monkeypatch):
    """No test asks a real release host whether it answers."""
    monkeypatch.setattr(choice, "_silent", set)


@pytest.fixture
def no_proxy(monkeypatch):
    """The environment of this machine names no proxy."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a site `small` and no notebooks yet; the working directory is inside it."""
    for name in ("notebooks", "parameters"):
        (tmp_path / name).mkdir()
    (tmp_path / "parameters" / "small.yaml").write_text(SITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIRAVATA_RUNBOOK_SITE", "not-this-one")
    monkeypatch.setenv("CANARY", "canary-value-6f1d")
    return tmp_path
