"""The script that takes etcd's snapshot, with a stand-in for etcdctl. Backups of real sites: tests/site/test_kept_data.py."""

import os
import subprocess

import pytest

from airavata_runbook.run.backup import SNAPSHOT

HEALTHY = """for last; do :; done
case "$*" in *"endpoint health"*) echo healthy ;; *"snapshot save"*) echo rows > "$last" ;; esac"""
# As etcdctl 3.6.16 does with an etcd that has stopped.
STOPPED = 'case "$*" in *"endpoint health"*) echo unhealthy >&2; exit 1 ;; *) exec sleep 60 ;; esac'


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """A function that runs the script; its folder is made in tmp_path/host."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (tmp_path / "host").mkdir()

    def run(body: str) -> subprocess.CompletedProcess[str]:
        (tmp_path / "etcdctl").write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / "etcdctl").chmod(0o755)
        script = SNAPSHOT.replace("/var/lib/", f"{tmp_path}/host/")
        return subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=20)

    return run


def test_a_snapshot_is_all_that_is_printed_and_leaves_nothing(snapshot, tmp_path):
    done = snapshot(HEALTHY)
    assert (done.returncode, done.stdout) == (0, "rows\n") and list((tmp_path / "host").iterdir()) == []


def test_a_stopped_etcd_ends_it_at_once(snapshot, tmp_path):
    done = snapshot(STOPPED)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "unhealthy\n") and list((tmp_path / "host").iterdir()) == []
