"""A class of two on this machine, labs of one host each: up, a notebook server each, a site file by `init`, down. Needs root."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.labs import PROJECT
from tests.unit.small_project import wait_for

TEMPLATE = """
site:
  name: one
  nodes: [{name: master, address: 10.83.0.11, interface: host0, role: master}]
  airavata: {stand_in: true}
  lab: {bridge: lab38, network: 10.83.0.0/24}
"""
NAME = "ltest"
COMMAND = [sys.executable, "-m", "airavata_runbook.cli"]


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project whose template has one host, and a state folder; the labs of the class are taken down in any case."""
    folder = tmp_path_factory.mktemp("class")
    (folder / "parameters").mkdir()
    (folder / "notebooks").mkdir()
    (folder / "parameters" / "one.yaml").write_text(TEMPLATE)
    shutil.copy(PROJECT / "notebooks" / "01-network.ipynb", folder / "notebooks")
    yield folder
    call(folder, "class", "down", "--name", NAME, "--yes")


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "AIRAVATA_RUNBOOK_STATE": str(folder / "state"), "PYTHONPATH": str(PROJECT), "NO_COLOR": "1"}


def call(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *words], cwd=folder, env=environment(folder), capture_output=True, text=True)


def traces(folder: Path) -> list[str]:
    """What is left of the class on this machine."""
    links = subprocess.run(["ip", "-brief", "link"], capture_output=True, text=True, check=True).stdout.splitlines()
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    files = [str(path) for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return [line for line in links if NAME in line] + [line for line in mounts if str(folder) in line] + sorted(files)


def test_two_students_have_a_lab_and_a_server_each_and_nothing_is_left_of_them(project):
    before = traces(project)
    up = call(project, "class", "up", "2", "--name", NAME, "--site", "one", "--network", "10.137.0.0/16")
    assert up.returncode == 0, up.stderr
    assert re.findall(rf"(?m)^({NAME}-[12]) +1 +1 +(\S+)", up.stdout) == [
        (f"{NAME}-1", "10.137.1.0/24"),
        (f"{NAME}-2", "10.137.2.0/24"),
    ]
    for number in (1, 2):
        inside = call(project, "lab", "ssh", "--site", f"{NAME}-{number}", "master", "--", "hostname", "-I")
        assert inside.stdout.split() == [f"10.137.{number}.11"], inside.stderr

    a_site_from_what_the_hosts_say_passes_the_checks(project)
    each_student_has_a_server(project)

    again = call(project, "class", "up", "2", "--name", NAME, "--site", "one", "--network", "10.137.0.0/16")
    assert again.returncode == 0 and again.stdout.count(" up ") == 2
    (project / "parameters" / "mine.yaml").unlink()
    down = call(project, "class", "down", "--name", NAME, "--yes")
    assert down.returncode == 0, down.stderr
    assert traces(project) == before


def a_site_from_what_the_hosts_say_passes_the_checks(project: Path) -> None:
    keys = project / "state" / "labs" / f"{NAME}1"
    words = ["init", "mine", "--host", "head=root@10.137.1.11", "--key", str(keys / "id_ed25519"), "--stand-in"]
    refused = call(project, *words)
    found = re.findall(r"SHA256:[A-Za-z0-9+/]{43}", refused.stderr)
    own = subprocess.run(["ssh-keygen", "-lf", keys / "master" / "ssh_host_ed25519_key.pub"], capture_output=True, text=True)
    assert refused.returncode == 1 and len(found) == 1 and found[0] in own.stdout
    assert call(project, *words, "--fingerprint", f"head={found[0]}").returncode == 0
    assert "interface: host0" in (project / "parameters" / "mine.yaml").read_text()
    check = call(project, "check", "mine")
    assert check.returncode == 0 and "site mine: 0 failed" in check.stdout, check.stdout


def each_student_has_a_server(project: Path) -> None:
    words = [*COMMAND, "class", "serve", "--name", NAME, "--port", "8971"]
    with subprocess.Popen(words, cwd=project, env=environment(project), stdout=subprocess.PIPE, text=True) as serving:
        try:
            lines = [serving.stdout.readline() for _ in range(3)]
            addresses = [line.split()[1] for line in lines[1:]]
            tokens = [address.partition("token=")[2] for address in addresses]
            assert [address[:22] for address in addresses] == ["http://127.0.0.1:8971/", "http://127.0.0.1:8972/"]
            assert len(set(tokens)) == 2
            for number, token in enumerate(tokens, 1):
                at = f"http://127.0.0.1:{8970 + number}/api"
                wait_for(lambda at=at: answers(f"{at}/status") == 403)  # it is up, and lets nobody in without the token
                assert answers(f"{at}/status?token={tokens[2 - number]}") == 403, "another student's token"
                with urllib.request.urlopen(f"{at}/contents/parameters?token={token}") as reply:
                    assert [file["name"] for file in json.load(reply)["content"]] == [f"{NAME}-{number}.yaml"]
            arguments = [path.read_text() for path in Path("/proc").glob("[0-9]*/cmdline") if path.parent.exists()]
            assert not any(token in text for text in arguments for token in tokens)
        finally:
            serving.send_signal(signal.SIGINT)
    assert serving.returncode == 130
    assert answers("http://127.0.0.1:8971/api/status") == 0 and not list(project.rglob("jupyter.log"))


def answers(url: str) -> int:
    """The status of an answer; 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return reply.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0
