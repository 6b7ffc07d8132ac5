"""README, "Two machines of your own in ten minutes", word for word on two lab hosts: every block of commands, in one shell.

Only what README says with the reader's own values is replaced, in INSTEAD and by ADDED; what is done in the cloud's console is no
block of commands. The machines are then as bare as before.
"""

import os
import re
import select
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from airavata_runbook.local import paths
from tests.full_picture import left_by_reset, pictures
from tests.labs import COMMAND, PROJECT, lab_hosts

TITLE = "## Two machines of your own in ten minutes\n"
INSTEAD = {"10.0.0.11": "10.84.0.11", "10.0.0.12": "10.84.0.12", "ens3": "host0"}
# No release host is reached here: the components are those that this machine has built.
BUILT = ("kubernetes", "etcd", "flannel", "containerd", "runc", "cni", "registry", "cri_tools", "coredns")
ADDED = f"  sources: {{{', '.join(f'{name}: build' for name in BUILT)}}}\n"
LIMIT = 600  # seconds: the ten minutes
MACHINES = {
    "name": "own-machines",
    "ssh": {"user": "debian"},
    "nodes": [
        {"name": "head", "address": "10.84.0.11", "interface": "host0", "role": "master"},
        {"name": "one", "address": "10.84.0.12", "interface": "host0"},
    ],
    "lab": {"bridge": "lab14", "network": "10.84.0.0/24"},
}
SSH = """#!/bin/sh
# OpenSSH takes the home folder from passwd, not from HOME.
exec /usr/bin/ssh -F none -i $HOME/.ssh/id_ed25519 -o UserKnownHostsFile=$HOME/.ssh/known_hosts -o BatchMode=yes "$@"
"""


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the section's blocks, with this test's values; of the site file (file's path, text)."""
    section = (PROJECT / "README.md").read_text().split(TITLE)[1].split("\n## ")[0]
    found = re.findall(r"(?ms)(`parameters/\S+?`:\n\n)?^```(\w+)\n(.*?)^```$", section)
    for old, new in INSTEAD.items():
        assert any(old in text for _, _, text in found), f"README no longer says {old}"
        found = [(named, language, text.replace(old, new)) for named, language, text in found]
    return [(named.strip("`:\n") or language, text) for named, language, text in found]


@pytest.fixture(scope="module")
def machines(tmp_path_factory):
    """Two bare hosts with a user who may use sudo; the site file of the section knows nothing of a lab."""
    with lab_hosts(MACHINES, tmp_path_factory.mktemp("machines")) as site:
        yield site


@pytest.fixture(scope="module")
def project(tmp_path_factory, machines):
    """The project as it is after a clone, with its tools; its own parameters, records and known hosts."""
    folder = tmp_path_factory.mktemp("project")
    for name in ("Makefile", "notebooks", "airavata_runbook", ".venv"):
        (folder / name).symlink_to(PROJECT / name)
    shutil.copytree(PROJECT / "parameters", folder / "parameters")
    for name in ("pyproject.toml", "requirements.lock"):  # older than the tools, which are not installed once more
        shutil.copy(PROJECT / name, folder / name)
        os.utime(folder / name, (0, 0))
    home = folder / "home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    (home / "bin").mkdir()
    shutil.copy(machines.master.ssh.key, home / ".ssh" / "id_ed25519")
    (home / "bin" / "ssh").write_text(SSH)
    (home / "bin" / "ssh").chmod(0o755)
    yield folder
    subprocess.run([COMMAND, "kubeconfig", "mine", "--stop"], cwd=folder, env=environment(folder), check=False)


def environment(project: Path) -> dict[str, str]:
    own = {
        "HOME": str(project / "home"),
        "PATH": f"{project / 'home' / 'bin'}:{os.environ['PATH']}",
        "AIRAVATA_RUNBOOK_CACHE": str(paths.cache_dir()),
        "AIRAVATA_RUNBOOK_STATE": str(project / "state"),
    }
    return {**os.environ, **own}


def in_terminal(words: list[str], project: Path) -> tuple[int, str]:
    """Exit status and output of a command in a terminal, where the site's name is typed when it is asked for."""
    mine, its = os.openpty()
    shell = subprocess.Popen(words, cwd=project, env=environment(project), stdin=its, stdout=its, stderr=its)
    said, begun = b"", time.monotonic()
    # What it leaves in the background, as the forward of kubeconfig, keeps the terminal open.
    while select.select([mine], [], [], 0.5)[0] or shell.poll() is None:
        if select.select([mine], [], [], 0)[0]:
            said += os.read(mine, 1 << 16)
        if said.endswith(b"to continue: "):
            os.write(mine, b"mine\n")
            said += b"\n"
        if time.monotonic() - begun > 2 * LIMIT:
            shell.kill()
    os.close(mine)
    os.close(its)
    return shell.wait(), said.decode().replace("\r\n", "\n")


def test_the_section_is_followed_word_for_word_within_ten_minutes(project, machines):
    bare, script = pictures(machines), ["set -eu"]
    for what, text in blocks():
        if what == "sh":
            script += ["echo; echo ==", text]
        else:
            assert what == "parameters/mine.yaml"
            (project / what).write_text(text + ADDED)
    (project / "commands.sh").write_text("\n".join([*script, "echo; echo ==; echo the end"]))
    begun = time.monotonic()
    status, said = in_terminal(["bash", "commands.sh"], project)
    took = time.monotonic() - begun
    print(f"the section took {took:.0f} s")
    assert status == 0 and said.endswith("the end\n"), said[-5000:]
    tools, keys, trust, work, around, undo = said.split("\n==\n")[1:-1]
    assert keys.count("SHA256:") == 2
    assert f"{INSTEAD['10.0.0.11']}/24" in trust and INSTEAD["ens3"] in trust
    assert "site mine: 0 failed" in work and " would change" in work and re.search(r"site mine: 6 chapters in .*, 0 failed", work)
    assert len(re.findall(r"node/10\.84\.0\.1[12] +Ready", around)) == 2
    pods = re.findall(r"(?m)^\S+ +pod/\S+ +\d+/\d+ +(\w+)", around)
    assert len(pods) > 10 and set(pods) <= {"Running", "Completed"}, around
    assert "STAND-IN" in around and "</html>" in around  # the portal
    assert re.search(r"site mine: 1 chapter in .*, 0 failed", undo)
    assert left_by_reset(bare, pictures(machines)) == []
    assert took < LIMIT


def test_what_the_reader_compares_is_what_the_machines_have(project, machines):
    """The fingerprints of README's ssh-keygen are those of the hosts' own files."""
    shown = subprocess.run(["ssh-keygen", "-lf", str(project / "machines.keys")], capture_output=True, text=True, check=True)
    fingerprints = {line.split()[1] for line in shown.stdout.splitlines()}
    own = subprocess.run(["ssh-keygen", "-lf", machines.master.ssh.known_hosts], capture_output=True, text=True, check=True)
    assert len(fingerprints) == 2 and fingerprints == {line.split()[1] for line in own.stdout.splitlines()}
