"""The manifests that a run leaves are what the cluster has: kubectl, which knows nothing of the runbook, finds no difference."""

import subprocess
from pathlib import Path

import pytest
import yaml

from airavata_runbook.mirror.kubectl import ensure_kubectl
from tests.site.conftest import PROJECT, runbook


@pytest.fixture(scope="module")
def folder(site_file, site, first) -> Path:
    """Of the site's newest run, which has both chapters with manifests."""
    done = runbook("run", site_file, "--from", "04", "--to", "05")
    assert done.returncode == 0, done.stdout + done.stderr
    return PROJECT / "outputs" / site.name / "latest" / "manifests"


@pytest.fixture(scope="module")
def diff(site_file, first):
    """`kubectl diff` on a file or folder: (exit status, output)."""
    config = runbook("kubeconfig", site_file).stdout.strip()

    def call(path: Path) -> tuple[int, str]:
        words = [ensure_kubectl(), "--kubeconfig", config, "diff", "-R", "-f", path]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120)
        return done.returncode, done.stdout + done.stderr

    return call


def test_kubectl_finds_no_difference_to_what_a_run_wrote(folder, diff):
    assert {path.parent.name for path in folder.glob("*/deploy.yaml")} >= {
        "coredns",
        "toolbox",
        "mariadb",
        "api-server",
        "portal",
    }
    assert diff(folder) == (0, "")


def test_kubectl_would_find_one(folder, diff, tmp_path):
    """So that a diff that compares nothing does not pass for one that finds nothing."""
    text = (folder / "portal" / "deploy.yaml").read_text()
    assert text.count("replicas: 1\n") == 1
    (tmp_path / "deploy.yaml").write_text(text.replace("replicas: 1\n", "replicas: 2\n"))
    status, shown = diff(tmp_path)
    assert status == 1 and "+  replicas: 2" in shown


def test_they_name_images_by_digest_and_secrets_by_reference(folder, site):
    files = sorted(folder.glob("*/*.yaml"))
    for path in files:
        text = path.read_text()
        assert "not known by its digest" not in text and "A run adds" not in text
        for one in yaml.safe_load_all(text):
            assert one["kind"] != "Secret"
    assert "# Secret mariadb: " in (folder / "mariadb" / "deploy.yaml").read_text()


def test_the_command_writes_the_same_but_for_what_only_the_hosts_know(folder, site_file, tmp_path):
    done = runbook("manifests", site_file, "-o", str(tmp_path))
    assert done.returncode == 0, done.stderr

    def known(path: Path) -> list[str]:
        """Without the head, and without digests: those of the site's images may be of another machine."""
        return [line.partition("@sha256:")[0] for line in path.read_text().partition("\n\n")[2].splitlines()]

    written = {path.relative_to(folder) for path in folder.glob("*/*.yaml")}
    assert written == {path.relative_to(tmp_path) for path in tmp_path.glob("*/*.yaml")}
    for name in ("mariadb/service.yaml", "portal/service.yaml", "coredns/deploy.yaml"):
        assert known(folder / name) == known(tmp_path / name)
