"""A running site, for tests that observe it from outside.

AIRAVATA_RUNBOOK_SITE names it (tests/nbval/run.sh sets it to the labs that it has brought up); without it the tests boot a
lab on bridge lab3 and run everything from bare hosts.
"""

import json
import os
import subprocess

import pytest

from airavata_runbook.cluster.session import session_of
from airavata_runbook.kernel_env import SITE as VARIABLE
from airavata_runbook.site import Site
from tests.full_picture import over_ssh, pictures
from tests.labs import COMMAND, PROJECT, lab_hosts, site_like_lab

NOISE = """export LANG=de_DE.UTF-8
echo "Welcome to $(hostname)!"
echo "You have mail." >&2
printf "no line end here"
umask 077
"""


def runbook(*words: str) -> subprocess.CompletedProcess:
    """Run the command line as a user does."""
    return subprocess.run([COMMAND, *words], cwd=PROJECT, capture_output=True, text=True, timeout=1500)


SQL = """export KUBECONFIG=/etc/kubernetes/admin.conf
kubectl --cache-dir /tmp/kubectl -n {namespace} exec -i {workload}/mariadb -- bash -s <<'END'
exec 3<<SETTINGS
[client]
socket=/run/mysqld/mysqld.sock
user=root
password=$(cat /etc/airavata/secrets/root-password)
SETTINGS
mariadb --defaults-file=/dev/fd/3 -N -e "{sql}"
END
"""


def in_database(site: Site, sql: str, workload: str = "statefulset") -> str:
    """What MariaDB answers in the site, as root."""
    words = {"namespace": site.airavata.namespace, "workload": workload, "sql": sql}
    return over_ssh(site, site.master.name, SQL.format(**words)).strip()


def report(site: Site, link: str = "latest") -> dict:
    """The report of the site's newest run."""
    return json.loads((PROJECT / "outputs" / site.name / link / "report.json").read_text())


def actions(report: dict, status: str) -> dict[tuple, str]:
    """(chapter, step, host, label) → summary of everything in a report that has the status."""
    return {
        (chapter["chapter"], step["step"], host, item["label"]): item["summary"]
        for chapter in report["chapters"]
        for step in chapter["steps"]
        for host, items in step["hosts"].items()
        for item in items
        if item["status"] == status
    }


@pytest.fixture(scope="session")
def site_file(tmp_path_factory):
    """The path of a site file whose hosts are running."""
    if name := os.environ.get(VARIABLE):
        file = PROJECT / "parameters" / f"{name}.yaml"
        yield str(file if file.is_file() else name)
        return
    folder = tmp_path_factory.mktemp("site")
    file = site_like_lab(folder, "lab-run", "lab3", "10.83.0.")
    with lab_hosts(file, folder):
        yield str(file)
        runbook("kubeconfig", str(file), "--stop")


def make_noisy(site: Site) -> None:
    """Have the hosts' login shells print, as conda, neofetch, cloud images and mail notices do."""
    for node in site.nodes:
        over_ssh(site, node.name, f"cat > ~{node.ssh.user}/.bashrc <<'END'\n{NOISE}END\n")


@pytest.fixture(scope="session")
def site(site_file):
    loaded = Site.load(site_file)
    make_noisy(loaded)
    yield loaded
    session_of(loaded).close()


@pytest.fixture(scope="session")
def bare(site):
    """The full picture of each host before the first run; only where this session starts with bare hosts."""
    if over_ssh(site, site.master.name, "test -e /etc/kubernetes && echo there").strip():
        pytest.skip("the site was up before these tests")
    return pictures(site)


@pytest.fixture(scope="session")
def first(site_file, site):
    """The report of a run that brought the site up, or found it complete."""
    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    return report(site)


@pytest.fixture(scope="session")
def hosts(site, first):
    """The connected hosts by name, after a run."""
    return session_of(site).hosts
