"""A site from its bundle alone: the other machine is a network namespace whose only route is the one to the lab's hosts, of
which one installs deb packages and the other rpm packages.

Its user is new (HOME is empty), and types what `bundle`, and then install.py, print.
"""

import json
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from airavata_runbook.site.sources import Sources
from tests.labs import COMMAND, PROJECT, lab_hosts, site_like_lab

BRIDGE, NETWORK, NAMESPACE = "lab17", "10.117.0.", "labgap"
NAME = "air-gapped"
KINDS = ("--packages", "deb", "--packages", "rpm")
OUTSIDE = "import socket; socket.create_connection(('192.0.2.1', 443), 5)"  # RFC 5737: of nobody


@contextmanager
def no_network(home: Path):
    """Yields a function that runs a script as a new user of a machine that reaches the lab's hosts and nothing else."""
    environment = {"HOME": str(home), "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}

    def script(text: str, folder: Path) -> subprocess.CompletedProcess:
        command = ["ip", "netns", "exec", NAMESPACE, "bash", "-e", "-c", text]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)

    def ip(*words: str) -> None:
        subprocess.run(["ip", *words], check=True)

    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", NAMESPACE, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        ip("link", "set", NAMESPACE, "master", BRIDGE, "up")
        for words in ("link set lo up", f"address add {NETWORK}200/24 dev eth0", "link set eth0 up"):
            ip("-n", NAMESPACE, *words.split())
        yield script
    finally:
        subprocess.run(["ip", "netns", "delete", NAMESPACE], check=True)


def printed_commands(output: str, after: str) -> str:
    """What a person types: the lines that are indented by two blanks or more, below one that begins with `after`."""
    lines = output.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(after)) + 1
    end = next((number for number, line in enumerate(lines[start:], start) if not line.startswith("  ")), len(lines))
    return "\n".join(line.strip() for line in lines[start:end])


def of_own_hosts(lab_file: Path) -> Path:
    """The lab's site as one of real hosts, which knows of no lab: keys and host keys are those of the user who runs it."""
    content = yaml.safe_load(lab_file.read_text())
    del content["site"]["lab"]
    content["site"] |= {"name": NAME, "sources": dict.fromkeys(Sources.model_fields, "build")}
    file = lab_file.with_name(f"{NAME}.yaml")
    file.write_text(yaml.safe_dump(content))
    return file


@pytest.fixture(scope="module")
def folder():
    """One that pytest does not keep: it gets large."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@pytest.fixture(scope="module")
def machines(folder):
    """(a function that runs a script on the other machine, its home, the folder that the bundle is in, what `bundle` printed)"""
    home, elsewhere = folder / "home", folder / "elsewhere"
    for one in (home, home / ".ssh", elsewhere):
        one.mkdir(mode=0o700)
    lab_file = site_like_lab(folder, "air-gapped-lab", BRIDGE, NETWORK)
    content = yaml.safe_load(lab_file.read_text())
    content["site"]["lab"]["hosts"] = {"worker": {"packages": "rpm"}}
    lab_file.write_text(yaml.safe_dump(content))
    with lab_hosts(lab_file, folder) as site:
        lab_keys = folder / "state" / "labs" / str(site.lab.bridge)
        for name in ("id_ed25519", "known_hosts"):
            (home / ".ssh" / name).write_bytes((lab_keys / name).read_bytes())
            (home / ".ssh" / name).chmod(0o600)
        call = [COMMAND, "bundle", of_own_hosts(lab_file), "-o", elsewhere / "site.tar", *KINDS]
        made = subprocess.run(call, cwd=PROJECT, capture_output=True, text=True, timeout=900)
        assert made.returncode == 0, made.stderr
        with no_network(home) as script:
            yield script, home, elsewhere, made.stdout


def test_the_machine_has_no_network(machines):
    script, _, elsewhere, _ = machines
    assert "unreachable" in script(f'python3 -c "{OUTSIDE}"', elsewhere).stderr


def test_the_main_job_works_from_the_bundle_alone(machines):
    script, home, elsewhere, printed = machines
    installed = script(printed_commands(printed, "on the other machine"), elsewhere)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    ran = script(printed_commands(installed.stdout, "next:"), elsewhere)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    report = json.loads((home / "airavata-runbook" / "outputs" / NAME / "latest" / "report.json").read_text())
    assert [(one["chapter"][:2], one["error"]) for one in report["chapters"]] == [(f"0{number}", None) for number in range(1, 7)]
    assert (report["outcome"], report["failed"]) == ("ok", 0)
    cache = home / ".cache" / "airavata-runbook"
    assert {one.name for one in cache.iterdir() if one.is_dir()} == {"images", "packages"}  # nothing was built or fetched


def test_the_site_works_as_seen_by_kubectl(machines):
    script, home, _, _ = machines
    done = script(
        f""". .venv/bin/activate
        export KUBECONFIG=$(airavata-runbook kubeconfig {NAME})
        kubectl get nodes,pods --all-namespaces -o json
        airavata-runbook kubeconfig {NAME} --stop >&2""",
        home / "airavata-runbook",
    )
    assert done.returncode == 0, done.stderr
    items = json.loads(done.stdout)["items"]
    conditions = {
        (one["kind"], one["metadata"]["name"]): {each["type"]: each["status"] for each in one["status"]["conditions"]}
        for one in items
        if one["status"].get("phase") != "Succeeded"
    }
    assert {name for kind, name in conditions if kind == "Node"} == {f"{NETWORK}11", f"{NETWORK}12"}
    assert any(name.startswith("mariadb") for _, name in conditions)
    assert {which for which, state in conditions.items() if state["Ready"] != "True"} == set()
