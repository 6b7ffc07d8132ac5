"""A site of official releases, which the runbook chooses where they are served, and keeps when they are not any more."""

import json
import os
import re
import subprocess
from types import SimpleNamespace

import pytest

from airavata_runbook.mirror.releases import RELEASES
from airavata_runbook.site.life import RECORD
from tests.full_picture import over_ssh
from tests.labs import COMMAND, PROJECT, lab_hosts
from tests.release_server import cache_without_builds, release_server

SITE = {
    "name": "releases",
    "nodes": [{"name": "one", "address": "10.116.0.11", "interface": "host0", "role": "master"}],
    "lab": {"bridge": "lab16", "network": "10.116.0.0/24"},
}
PROGRAMS = {  # what each says of its version
    "kubelet --version": "Kubernetes v1",
    "etcd --version | head -n 1": "etcd Version: 3",
    "containerd --version": "containerd/v2 v2",
    "flanneld --version 2>&1": "v0",
}


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The host, with what calls the runbook for it while the releases are served; `server` and `cache` are theirs."""
    folder = tmp_path_factory.mktemp("releases")
    with lab_hosts(SITE, folder) as site, release_server(folder) as (server, environment):
        (folder / "cache").mkdir()
        cache = cache_without_builds(folder / "cache")
        (folder / "site.yaml").write_text(json.dumps({"site": SITE}))
        state = {"AIRAVATA_RUNBOOK_CACHE": str(cache), "AIRAVATA_RUNBOOK_STATE": str(folder / "state")}

        def call(*words: str) -> str:
            called = [COMMAND, words[0], str(folder / "site.yaml"), *words[1:]]
            done = subprocess.run(
                called, cwd=PROJECT, env={**os.environ, **state, **environment}, capture_output=True, text=True, timeout=600
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout + done.stderr

        yield SimpleNamespace(site=site, server=server, cache=cache, call=call)


def test_a_lab_gets_the_releases_that_are_served_and_compiles_nothing(lab):
    said = lab.call("mirror")
    assert "is known" not in said and "did not answer" not in said
    made = [path.name for path in (lab.cache / "components").iterdir() if path.is_dir() and not path.is_symlink()]
    assert {re.sub(r"-\d.*", "", name) for name in made} == set(RELEASES) and all("-release-" in name for name in made)
    done = lab.call("run", "--to", "04")
    assert "0 failed" in done
    for command, version in PROGRAMS.items():
        assert version in over_ssh(lab.site, "one", command)
    assert json.loads(over_ssh(lab.site, "one", f"cat {RECORD}"))["releases"] == sorted(RELEASES)


def test_the_next_run_changes_nothing_when_the_releases_are_served_no_more(lab):
    lab.server.files.clear()
    asked = len(lab.server.requests)
    assert " 0 changed, 0 failed" in lab.call("run", "--to", "04").splitlines()[-2]
    assert len(lab.server.requests) == asked, "a site that is there asks no release host"
