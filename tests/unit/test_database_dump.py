"""A dump of the databases and its way back: what is no dump, or only the beginning of one, is refused with its reason."""

import subprocess

import pytest

from airavata_runbook.cluster import mariadb
from airavata_runbook.cluster.mariadb import DUMP, LOAD, Database
from airavata_runbook.errors import StepFailed

DATABASE = Database("airavata", "StatefulSet", "mariadb")
WHOLE = [b"-- MariaDB dump 10.19\nCREATE DATABASE a;\n", b"-- Dump completed on 2026-11-30\n"]


class Master:
    name = "master"


@pytest.fixture
def fed(monkeypatch):
    """The blocks that reached the database's client."""
    blocks: list[bytes] = []
    monkeypatch.setattr(mariadb, "feed", lambda host, script, given: blocks.extend(given))
    return blocks


def test_a_whole_dump_is_loaded(fed):
    DATABASE.load(Master(), WHOLE)
    assert fed == WHOLE


@pytest.mark.parametrize("blocks", [[], [b""], [b"<html>"], [b"ERROR 2002 (HY000): Can't connect\n"]])
def test_what_is_no_dump_is_refused_before_anything_is_changed(fed, blocks):
    with pytest.raises(StepFailed, match="no dump of MariaDB: nothing was changed"):
        DATABASE.load(Master(), blocks)
    assert not fed


def test_a_dump_that_is_cut_is_refused(fed, monkeypatch):
    with pytest.raises(StepFailed, match="incomplete") as failed:
        DATABASE.load(Master(), WHOLE[:1])
    assert "load a dump that is" in failed.value.remedy
    monkeypatch.setattr(mariadb, "output", lambda host, script: iter(WHOLE[:1]))
    with pytest.raises(StepFailed, match="incomplete"):
        list(DATABASE.dump(Master()))


@pytest.mark.parametrize("script", [DUMP, LOAD])
def test_the_password_reaches_the_client_through_a_pipe_and_by_no_argument(tmp_path, script):
    (tmp_path / "password").write_text("qwertz uiop")
    calls = tmp_path / "calls"
    for name in ("mariadb", "mariadb-dump"):
        program = tmp_path / name
        program.write_text(f'#!/bin/bash\necho "$@" >> {calls}\nenv >> {calls}\n[ -p /dev/fd/3 ] && cat <&3 >> {tmp_path}/read\n')
        program.chmod(0o755)
    script = script.replace("/etc/airavata/secrets/root-password", f"{tmp_path}/password")
    subprocess.run(["bash", "-c", f"PATH={tmp_path}:$PATH\n{script}"], check=True, input=b"")
    assert "password=qwertz uiop" in (tmp_path / "read").read_text() and "qwertz" not in calls.read_text()
