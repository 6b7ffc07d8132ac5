"""parameters/poc-2017.yaml as it is, from two bare hosts to a running site; needs root and `make mirror`, about three minutes.

The hosts are lab hosts with rpm and dnf, a STAND-IN for Rocky Linux on a Debian base, that another site file describes: for
poc-2017 they are hosts like any others, with an SSH key in ~/.ssh and a known_hosts. What an admin has to bring is made here with
an admin's tools: a repository of signed packages on an HTTP server (createrepo_c, rpmsign), as http://cbs.centos.org was one, its
public key on the hosts, and the registry's certificate from an authority of his own.
"""

import functools
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from airavata_runbook.distributions.rpm import RPM
from airavata_runbook.local.paths import cache_dir
from airavata_runbook.mirror import packages
from airavata_runbook.mirror.catalogue import PACKAGES
from airavata_runbook.site import Site
from tests.full_picture import etcdctl, kubectl, over_ssh
from tests.labs import COMMAND, PROJECT, lab_hosts
from tests.site.conftest import report
from tests.unit.certificate_samples import authority, server

POC = PROJECT / "parameters" / "poc-2017.yaml"
GATEWAY, ADDRESSES = "10.113.0.1", {"master": "10.113.0.11", "slave": "10.113.0.12"}
PASSWORD = "a-password-of-this-test"
SIGNER = "Packages of this test"
SIGN = f"""set -eu
gpg --batch --quiet --passphrase '' --quick-generate-key '{SIGNER}' rsa3072 sign never
gpg --armor --export '{SIGNER}' > key.asc
rpmsign --define '_gpg_name {SIGNER}' --define "__gpg $(command -v gpg)" --addsign *.rpm > /dev/null 2>&1
createrepo_c --quiet .
"""


@pytest.fixture(scope="module")
def poc(tmp_path_factory) -> Site:
    """The site of poc-2017.yaml, without any override."""
    return Site.load(POC)


@pytest.fixture(scope="module")
def hosts(poc, tmp_path_factory):
    """Bare lab hosts of the names and the user, and with the interfaces, that poc-2017.yaml has; as a lab's site."""
    nodes = [
        {"name": node.name, "address": ADDRESSES[node.name], "interface": node.interface, "role": node.role} for node in poc.nodes
    ]
    lab = {"bridge": "lab13", "network": "10.113.0.0/24", "hosts": {name: {"packages": "rpm"} for name in ADDRESSES}}
    content = {"name": "poc-hosts", "ssh": {"user": poc.nodes[0].ssh.user}, "nodes": nodes, "lab": lab}
    with lab_hosts(content, tmp_path_factory.mktemp("hosts")) as site:
        yield site


@pytest.fixture(scope="module")
def repository(hosts, poc, tmp_path_factory):
    """The address of a repository of the mirror's rpm packages, signed by an admin's key that the hosts have."""
    folder, gnupg = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("gnupg")
    for built in packages.make([package.name for package in PACKAGES], format=RPM.format):
        shutil.copy(built.path, folder / RPM.format.file_name(built.name, built.version))
    gnupg.chmod(0o700)
    subprocess.run(["sh", "-c", SIGN], check=True, cwd=folder, env={**os.environ, "GNUPGHOME": str(gnupg)}, timeout=300)
    for node in hosts.nodes:
        over_ssh(hosts, node.name, f"cat > {poc.repository.gpgkey} <<'END'\n{(folder / 'key.asc').read_text()}END")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer((GATEWAY, 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://{GATEWAY}:{httpd.server_port}/"
        httpd.shutdown()
    subprocess.run(["gpgconf", "--kill", "all"], check=False, env={**os.environ, "GNUPGHOME": str(gnupg)})


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves files, and logs nothing."""

    def log_message(self, *words: object) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(poc, tmp_path_factory) -> dict[str, str]:
    """The fields of the registry's certificate: one of an authority below a root, as an admin gets it."""
    folder = tmp_path_factory.mktemp("certificate")
    root = authority("Root of this test")
    between = authority("DigiCert of this test", root)
    own = server(between, poc.registry.name)
    (folder / "my-cert.crt").write_bytes(own.pem)
    (folder / "DigiCertCA.crt").write_bytes(between.pem + root.pem)
    (folder / "my-cert.key").write_bytes(own.key_pem)
    (folder / "my-cert.key").chmod(0o600)
    (folder / "root.crt").write_bytes(root.pem)
    return {"certificate": f"{folder}/my-cert.crt", "chain": f"{folder}/DigiCertCA.crt", "key": f"file:{folder}/my-cert.key"}


@pytest.fixture(scope="module")
def runbook(hosts, repository, certificate, tmp_path_factory):
    """The command line as the admin calls it: with his home, and the overrides that the file asks for. Nothing else."""
    home = tmp_path_factory.mktemp("home")
    (home / ".ssh").mkdir(mode=0o700)
    shutil.copy(hosts.master.ssh.key, home / ".ssh/id_rsa")
    shutil.copy(hosts.master.ssh.known_hosts, home / ".ssh/known_hosts")
    fields = {f"nodes.{name}.address": address for name, address in ADDRESSES.items()}
    fields |= {"repository.baseurl": repository} | {f"registry.certificate.{name}": value for name, value in certificate.items()}
    settings = [word for field, value in fields.items() for word in ("--set", f"{field}={value}")]
    environment = {**os.environ, "HOME": str(home), "REGISTRY_PASSWORD": PASSWORD, "AIRAVATA_RUNBOOK_CACHE": str(cache_dir())}

    def call(*words: str) -> subprocess.CompletedProcess:
        words = (*words, "poc-2017", *settings)
        return subprocess.run([COMMAND, *words], cwd=PROJECT, capture_output=True, text=True, timeout=900, env=environment)

    return call


@pytest.fixture(scope="module")
def first(runbook):
    done = runbook("run")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_nothing_is_wrong_with_the_hosts(runbook):
    done = runbook("check")
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_packages_come_from_the_repository_of_2017_by_its_name(first, hosts, poc):
    for node in poc.nodes:
        entry = over_ssh(hosts, node.name, f"cat /etc/yum.repos.d/{poc.repository.id}.repo").splitlines()
        assert f"[{poc.repository.id}]" in entry and f"name={poc.repository.name}" in entry
        assert "gpgcheck=1" in entry and f"gpgkey=file://{poc.repository.gpgkey}" in entry
        listed = over_ssh(hosts, node.name, "rpm -qa --qf '%{NAME} %{PACKAGER} %{RSAHEADER:pgpsig}\\n'").splitlines()
        ours = [line for line in listed if "runbook@localhost" in line]
        assert {"kubernetes-node", "containerd", "flannel"} <= {line.split()[0] for line in ours}
        assert all("RSA/SHA" in line for line in ours), "an unsigned package was installed"
        assert f"gpg-pubkey {SIGNER} (none)" in listed


def test_the_cluster_has_the_values_of_2017(first, hosts, poc):
    assert '"Network": "172.30.0.0/16"' in etcdctl(hosts, "get /kube-centos/network/config --print-value-only")
    nodes = kubectl(hosts, "get nodes --no-headers").splitlines()
    assert sorted(line.split()[:2] for line in nodes) == [[address, "Ready"] for address in sorted(ADDRESSES.values())]
    assert kubectl(hosts, "get svc kubernetes -o jsonpath='{.spec.clusterIP}'") == "10.254.0.1"


def test_the_registry_has_the_given_certificate_and_the_given_password(first, hosts, poc, certificate):
    root = Path(certificate["certificate"]).with_name("root.crt")
    url = f"https://{poc.registry.name}:{poc.registry.port}/v2/_catalog"
    place = f"{poc.registry.name}:{poc.registry.port}:{ADDRESSES['master']}"
    words = ["curl", "-sS", "--noproxy", "*", "--cacert", root, "--resolve", place, "-u", f"admin:{PASSWORD}", url]
    answer = subprocess.run(words, capture_output=True, text=True)
    assert "pause" in answer.stdout, answer.stderr


def test_a_second_run_changes_nothing(first, runbook, poc):
    done = runbook("run")
    assert done.returncode == 0, done.stdout + done.stderr
    assert report(poc)["changed"] == 0


def test_a_reset_takes_all_packages_and_the_entry_away(first, runbook, hosts, poc):
    done = runbook("reset", "--yes", "--data")
    assert done.returncode == 0, done.stdout + done.stderr
    for node in poc.nodes:
        left = over_ssh(hosts, node.name, "rpm -qa --qf '%{NAME}\\n' | sort; ls /etc/yum.repos.d").split()
        assert left == ["airavata-lab-base", "gpg-pubkey"], "the key is the admin's"
        assert over_ssh(hosts, node.name, f"test -e {poc.repository.gpgkey} && echo kept") == "kept\n"
