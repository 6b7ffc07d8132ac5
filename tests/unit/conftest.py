"""Fixtures of more than one module."""

import pytest

from tests.unit.small_project import SITE


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
