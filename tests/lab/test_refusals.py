"""Preflight: what would fail is refused before anything is changed, in one message with host or field and remedy."""

import os
import subprocess
from pathlib import Path

import pytest

from airavata_runbook import lab
from airavata_runbook.lab.host import lab_host
from airavata_runbook.site import Site
from tests.labs import COMMAND, PROJECT, lab_hosts, site_like_lab

WRONG_KEY = "SHA256:" + "A" * 43


@pytest.fixture(scope="module")
def site_file(tmp_path_factory):
    """The site file of two bare lab hosts, which are running."""
    folder = tmp_path_factory.mktemp("refusals")
    file = site_like_lab(folder, "lab-refusals", "lab6", "10.92.0.")
    with lab_hosts(file, folder):
        yield file


def refused(file: Path, *settings: str) -> str:
    """The message of a run of chapter 01, which has to fail."""
    words = [word for setting in settings for word in ("--set", setting)]
    done = subprocess.run(
        [COMMAND, "run", str(file), "--only", "01", *words],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200"},
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr


def test_bare_hosts_pass(site_file):
    done = subprocess.run([COMMAND, "run", str(site_file), "--only", "01"], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["registri.port=5001"], ["registri: unknown key; did you mean 'registry'?"]),
        (["network.pods=10.254.0.0/17"], ["network: pods 10.254.0.0/17 and services 10.254.0.0/16 overlap"]),
        (["nodes.worker.ssh.fingerprint=" + WRONG_KEY], ["worker", "host key", WRONG_KEY]),
        (["nodes.worker.ssh.user=nobody-there"], ["worker", "nobody-there"]),
        (
            ["nodes.worker.ssh.jump=root@10.92.0.11", "nodes.worker.ssh.host=10.92.0.98"],
            ["the jump host cannot reach the host", "worker", "10.92.0.98:22 through root@10.92.0.11:22"],
        ),
        (["nodes.worker.ssh.jump=root@10.92.0.99"], ["jump host 10.92.0.99", "10.92.0.99:22"]),
        (["airavata.images.portal.archive=/nowhere/portal.tar"], ["airavata.images.portal", "/nowhere/portal.tar"]),
        (["registry.password=env:NOT_SET_ANYWHERE"], ["registry.password", "NOT_SET_ANYWHERE"]),
        (
            [
                "repository.baseurl=http://10.92.0.1:9/packages",
                "repository.gpgcheck=true",
                "repository.gpgkey=/etc/apt/keyrings/site.gpg",
            ],
            [
                "repository     worker",
                "no package index at http://10.92.0.1:9/packages: Could not connect",
                "allow the host to connect to it",
            ],
        ),
        (["nodes.worker.interface=eth7"], ["worker", "no interface eth7; it has host0", "10.92.0.12 on eth7"]),
    ],
)
def test_one_message_says_what_where_and_the_remedy(site_file, settings, expected):
    message = refused(site_file, *settings)
    assert all(text in message for text in expected), message


def test_all_findings_are_reported_at_once_and_ignored_ones_are_counted(site_file):
    site = Site.load(site_file)
    assert lab.ssh(site, "worker", ["systemd-run --quiet --unit=taken socat TCP-LISTEN:10250,fork /dev/null"]) == 0
    words = ["check", str(site_file), "--set", "airavata.images.portal.archive=/nowhere/portal.tar"]
    try:
        done = subprocess.run([COMMAND, *words], cwd=PROJECT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 1 and "socat listens on 10250/tcp" in done.stdout and "/nowhere/portal.tar" in done.stdout
        assert "2 failed, 0 ignored" in done.stdout
        done = subprocess.run(
            [COMMAND, *words, "--set", "ignore_checks=[ports, sources]"], cwd=PROJECT, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0 and "0 failed, 2 ignored" in done.stdout
    finally:
        lab.ssh(site, "worker", ["systemctl stop taken"])


def test_packages_that_conflict_with_ours_are_refused_and_kept(site_file):
    site = Site.load(site_file)
    fields = "Package: docker.io\\nVersion: 1\\nArchitecture: all\\nMaintainer: test\\nDescription: stand-in\\n"
    assert (
        lab.ssh(
            site,
            "worker",
            [
                f"mkdir -p /tmp/docker/DEBIAN && printf '{fields}' > /tmp/docker/DEBIAN/control && "
                "dpkg-deb -b /tmp/docker /tmp/docker.deb && dpkg -i /tmp/docker.deb"
            ],
        )
        == 0
    )
    try:
        assert "docker.io is installed, which conflicts with containerd" in refused(site_file)
        assert lab.ssh(site, "worker", ["dpkg-query -W docker.io"]) == 0
    finally:
        lab.ssh(site, "worker", ["dpkg --purge docker.io; rm -r /tmp/docker*"])
    assert lab.ssh(site, "worker", ["dpkg-query -W -f='${db:Status-Abbrev}' docker.io | grep ^i"]) != 0


def test_networks_in_use_on_a_host_are_refused(site_file):
    site = Site.load(site_file)
    assert lab.ssh(site, "worker", ["ip link add probe0 type bridge && ip addr add 10.244.3.1/28 dev probe0"]) == 0
    try:
        message = refused(site_file)
    finally:
        lab.ssh(site, "worker", ["ip link delete probe0"])
    assert "probe0 has 10.244.3.1/28, which overlaps network.pods 10.244.0.0/16" in message


def test_a_host_that_is_down_is_named_and_the_others_are_not(site_file):
    site = Site.load(site_file)
    lab_host(site, "worker").crash()
    try:
        message = refused(site_file)
    finally:
        lab.up(site)
    assert "worker" in message and "10.92.0.12" in message and "master" not in message.split("Executed notebook")[0]
