"""The components' data agrees with what their go.mod files pin, and a damaged build is never taken for a good one."""

import json

import pytest

from airavata_runbook.mirror.build import folder, is_whole
from airavata_runbook.mirror.components import COMPONENTS


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_go_mod_pins_the_stated_version(component):
    text = (component.folder / "go.mod").read_text()
    assert f"{component.module} v{component.version}" in text
    assert (component.folder / "go.sum").stat().st_size > 0


def test_a_damaged_or_unfinished_build_is_not_whole(tmp_path):
    assert not is_whole(tmp_path)
    (tmp_path / "program").write_bytes(b"binary")
    digest = "9a3a45d01531a20e89ac6ae10b0b0beb0492acd7216a368aa062d1a5fecaf9cd"  # sha256 of b"binary"
    (tmp_path / "digests.json").write_text(json.dumps({"program": digest}))
    assert is_whole(tmp_path)
    (tmp_path / "program").write_bytes(b"damage")
    assert not is_whole(tmp_path)


def test_the_cache_folder_follows_the_recipe(tmp_path, monkeypatch):
    monkeypatch.setenv("AIRAVATA_RUNBOOK_CACHE", str(tmp_path))
    assert len({folder(component) for component in COMPONENTS}) == len(COMPONENTS)
    assert folder(COMPONENTS[0]).name.startswith(f"{COMPONENTS[0].name}-{COMPONENTS[0].version}-")
