"""Real login shells, sshd and sudo: whatever a user's shell prints and sets, answers, uploads, the lock and forwards are right;
a user who cannot become root is told what the host says. With stand-ins: tests/unit/test_login_shells.py, test_forward.py."""

import socket
import subprocess
import time
from pathlib import Path
from shlex import quote

import pytest

from airavata_runbook.checks import preflight
from airavata_runbook.cluster.session import session_of
from airavata_runbook.engine.step import step
from airavata_runbook.engine.target import master
from airavata_runbook.errors import ForwardForbidden, NotRoot, StepFailed
from airavata_runbook.hosts.host import Host
from airavata_runbook.hosts.lock import SiteLock
from airavata_runbook.lab.host import lab_host
from airavata_runbook.local import debian
from airavata_runbook.pki.types import Subject
from airavata_runbook.resources import Authority, Certificate, File, Generated, Service, Upload
from airavata_runbook.site import Site
from tests.labs import lab_hosts

USER, HOME = "operator", "home/operator"
NAMES = ("one", "two")
SHELLS = ("bash", "zsh", "tcsh", "fish")
GREETING = """printf 'Welcome, no end of line'
echo held; echo port 22; echo 'mesg: ttyname failed' >&2
umask 077; cd /usr; export LANG=de_DE.UTF-8 LC_ALL=de_DE.UTF-8 CDPATH=/usr PATH=/usr/bin:/bin
{seconds}
trap 'echo goodbye; echo goodbye >&2' EXIT
"""
CSH = """printf 'Welcome, no end of line'
echo held; echo port 22; sh -c "echo 'mesg: ttyname failed' >&2"
umask 077; cd /usr; setenv LANG de_DE.UTF-8; setenv LC_ALL de_DE.UTF-8; setenv CDPATH /usr; alias sh 'echo an alias'
"""
FISH = """printf 'Welcome, no end of line'
echo held; echo port 22; echo 'mesg: ttyname failed' >&2
umask 077; cd /usr; set -x LANG de_DE.UTF-8; set -x LC_ALL de_DE.UTF-8; set -x CDPATH /usr; alias sh 'echo an alias'
"""
STARTUP = {
    ".bashrc": GREETING.format(seconds=""),
    ".zshenv": GREETING.format(seconds="alias sh='echo an alias'"),
    ".tcshrc": CSH,
    ".config/fish/config.fish": FISH,
}
SUDO = "Defaults use_pty\nDefaults lecture=always\nDefaults:operator log_input, log_output, iolog_dir=/var/log/sudo-io\n"
# What cloud-init 22.4 writes before root's keys (config/cc_ssh.py, DISABLE_USER_OPTS), without its ten seconds.
CLOUD = (
    "no-port-forwarding,no-agent-forwarding,no-X11-forwarding,"
    """command="echo 'Please login as the user \\"debian\\" rather than the user \\"operator\\".';echo;exit 142\""""
)
UNIT = "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    fields = {
        "name": "login-shells",
        "ssh": {"user": USER},
        "nodes": [
            {"name": "one", "address": "10.95.0.11", "interface": "host0", "role": "master"},
            {"name": "two", "address": "10.95.0.12", "interface": "host0"},
        ],
        "lab": {"bridge": "lab5", "network": "10.95.0.0/24"},
    }
    with lab_hosts(fields, tmp_path_factory.mktemp("lab")) as made:
        for name in NAMES:
            debian.install(lab_host(made, name).root, [one for one in SHELLS if one != "bash"])
        yield made


def on(site: Site, name: str, command: str) -> str:
    """The output of a command of root's on a host, from this machine and without SSH."""
    init = Path(f"/proc/{lab_host(site, name).pid}/task/{lab_host(site, name).pid}/children").read_text().split()[0]
    done = subprocess.run(
        ["nsenter", "-t", init, "-a", "sh", "-c", command], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout


def write(site: Site, path: str, text: str) -> None:
    """A file on both hosts; it is the user's where it is in the user's home."""
    for name in NAMES:
        target = lab_host(site, name).root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        on(site, name, f"chown -R {USER} /{HOME}")


@pytest.fixture
def fresh(site):
    """No session is open before and after; the user's shell is bash, without a word, afterwards."""
    session_of(site).close()
    yield
    session_of(site).close()
    for name in NAMES:
        on(site, name, f"usermod -s /bin/bash {USER}; rm -f /{HOME}/.bashrc")


@pytest.fixture(params=SHELLS)
def noisy(request, site, fresh):
    """A user of that shell, which prints and sets a lot, and a sudo that runs commands in a pseudo-terminal."""
    write(site, "etc/sudoers.d/zz", SUDO)
    for path, text in STARTUP.items():
        write(site, f"{HOME}/{path}", text)
    for name in NAMES:
        on(
            site,
            name,
            f"usermod -s $(command -v {request.param}) {USER}; mount -o remount,noexec /tmp || mount -t tmpfs -o noexec t /tmp",
        )
        on(site, name, "mount -o remount,noexec /run")
    yield request.param
    for name in NAMES:
        on(site, name, f"rm -f /etc/sudoers.d/zz; cd /{HOME} && rm -rf {' '.join(STARTUP)} .config /opt/noisy")


@step("Secrets of a noisy master", on=master)
def secrets_of_site(target):
    yield Generated("canary")
    yield Authority("ca", "lab-authority")


def test_a_noisy_shell_is_worked_with_as_any_other(site, noisy, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(bytes(range(256)) * 10_000)
    sha256 = subprocess.run(["sha256sum", source], capture_output=True, text=True, check=True).stdout.split()[0]

    @step("A service on every host")
    def service(target):
        yield Certificate("/etc/kubernetes/pki/server", Subject(target.node.name, ips=(str(target.node.address),)))
        yield Upload("/opt/noisy/deep/file", source, sha256, target.fan_out)
        yield File("/etc/systemd/system/waiter.service", UNIT)
        yield File("/etc/waiter.conf", f"# of {target.node.name}\n")
        yield Service("waiter", reads=["/etc/waiter.conf"])

    greeting = over_plain_ssh(site, "true")
    assert "Welcome" in greeting, greeting
    bare = [secrets_of_site(site, plan=True), service(site, plan=True)]
    assert all(report.count("would change") for report in bare) or noisy != SHELLS[0]
    assert [report.failed for report in (secrets_of_site(site), service(site))] == [0, 0]
    assert [report.count("changed") for report in (secrets_of_site(site), service(site))] == [0, 0]
    session_of(site).vault.forget()
    secret = session_of(site).vault.secret("generated:canary")
    assert len(secret) == 32 and on(site, "one", "cat /etc/airavata-runbook/secrets/canary").strip() == secret
    assert on(site, "one", "cat /etc/kubernetes/pki/ca.crt").encode() == session_of(site).vault.authority().cert
    assert (
        on(site, "two", "openssl version >/dev/null 2>&1; head -c 27 /etc/kubernetes/pki/server.crt")
        == "-----BEGIN CERTIFICATE-----"
    )
    for name in NAMES:
        assert on(site, name, "systemctl is-active waiter; sha256sum < /opt/noisy/deep/file").split()[:2] == ["active", sha256]
        assert on(site, name, "cd /opt/noisy && stat -c %a . deep deep/file /etc/waiter.conf").split() == [
            "755",
            "755",
            "644",
            "644",
        ]
    fetched = [item for item in service(site).hosts["two"] if "deep/file" in item.label]
    assert fetched and not any("sent from this machine" in item.summary for item in fetched)


def over_plain_ssh(site: Site, command: str) -> str:
    ssh = site.master.ssh
    options = [f"-oUserKnownHostsFile={ssh.known_hosts}", "-oStrictHostKeyChecking=yes", "-oBatchMode=yes", "-i", ssh.key]
    done = subprocess.run(
        ["ssh", "-F", "none", *options, f"{USER}@{site.master.address}", command], capture_output=True, text=True
    )
    return done.stdout


def test_files_of_a_noisy_source_are_fetched_and_the_site_is_locked(site, noisy, tmp_path):
    source = tmp_path / "source"
    source.write_bytes(noisy.encode() * 100_000)
    sha256 = subprocess.run(["sha256sum", source], capture_output=True, text=True, check=True).stdout.split()[0]

    @step("One file")
    def files(target):
        yield Upload(f"/opt/noisy/{noisy}", source, sha256, target.fan_out)

    report = files(site)
    assert [item.summary for item in report.hosts["two"]] == ["create"], "it came from the other host"
    assert on(site, "one", "ls /run/airavata-runbook.* -d") == "/run/airavata-runbook.lock\n"
    session = session_of(site)
    with session.lock.held("a test of noise") as held:
        assert held and ", a test of noise, since " in on(site, "one", "cat /run/airavata-runbook.lock")
        with pytest.raises(StepFailed, match="(?s)another run is in progress.*a test of noise"):
            lock_once_more(site)
    deadline = time.monotonic() + 10  # the shell on the host ends a moment later
    while on(site, "one", "cat /run/airavata-runbook.lock; stat -c %a /run/airavata-runbook.lock") != "600\n":
        assert time.monotonic() < deadline


def lock_once_more(site: Site) -> None:
    other = Host(site.master)
    try:
        with SiteLock(other).held("another"):
            raise AssertionError("two runs at a time")
    finally:
        other.close()


def test_a_shell_that_takes_its_time_is_waited_for(site, fresh):
    write(site, f"{HOME}/.bashrc", "echo one moment; sleep 20\n")
    started = time.monotonic()
    with session_of(site).lock.held("a test of patience") as held:
        assert held and session_of(site).master.run("echo here").text == "here\n"
    assert time.monotonic() - started > 35, "the shell was slow"


@pytest.mark.parametrize(
    ("spoil", "mend", "found", "remedy"),
    [
        (
            f"echo 'Defaults:{USER} requiretty' > /etc/sudoers.d/zz",
            f"echo 'Defaults:{USER} !requiretty' >> /etc/sudoers.d/zz",
            "you must have a tty to run sudo",
            f"Defaults:{USER} !requiretty",
        ),
        (
            f"echo '{USER} ALL=(ALL) PASSWD: ALL' > /etc/sudoers.d/zz",
            "rm /etc/sudoers.d/zz",
            "a password is required",
            f"{USER} ALL=(ALL) NOPASSWD: ALL",
        ),
        (
            f"usermod -s /usr/sbin/nologin {USER}",
            f"usermod --shell /bin/bash {USER}",
            "not available",
            f"--shell /bin/bash {USER}",
        ),
        (f"usermod -s /bin/false {USER}", f"usermod --shell /bin/bash {USER}", "no output", f"--shell /bin/bash {USER}"),
        (f"echo {USER}:long-enough | chpasswd; chage -d 0 {USER}", f"chage -d -1 {USER}", "assword", f"passwd {USER}"),
        (
            f"cd /{HOME}/.ssh && cp authorized_keys kept && printf '%s ' {quote(CLOUD)} | cat - kept > authorized_keys",
            f"cd /{HOME}/.ssh && cat kept > authorized_keys",
            'Please login as the user "debian"',
            "set ssh.user to debian",
        ),
        ("mv /usr/bin/sudo /usr/bin/sudo.away", "mv /usr/bin/sudo.away /usr/bin/sudo", "sudo", "install sudo"),
    ],
    ids=["requiretty", "password", "nologin", "false", "expired", "another user", "no sudo"],
)
def test_what_keeps_a_user_from_root_is_told_as_the_host_says_it_and_mended_by_the_remedy(
    site, fresh, spoil, mend, found, remedy
):
    write(site, f"{HOME}/.bashrc", "echo Welcome; echo warned >&2\n")
    on(site, "one", spoil)
    try:
        with pytest.raises(NotRoot) as refused:
            session_of(site).master.run("true")
        with pytest.raises(NotRoot):
            session_of(site).master.start("true")
        assert found in refused.value.found and remedy in refused.value.remedy, str(refused.value)
        finding = next(one for one in preflight.preflight(site) if one.host == "one")
        assert (finding.check, finding.remedy) == ("sudo", refused.value.remedy)
    finally:
        on(site, "one", mend)
    session_of(site).close()
    assert session_of(site).master.run("id -u").text == "0\n"


@pytest.mark.parametrize(
    ("forbid", "allow"),
    [
        (
            "echo 'AllowTcpForwarding no' > /etc/ssh/sshd_config.d/zz.conf; systemctl restart ssh",
            "rm /etc/ssh/sshd_config.d/zz.conf; systemctl restart ssh",
        ),
        (
            f"echo 'Match User {USER}\nDisableForwarding yes' > /etc/ssh/sshd_config.d/zz.conf; systemctl restart ssh",
            "rm /etc/ssh/sshd_config.d/zz.conf; systemctl restart ssh",
        ),
        (f"sed -i 's/^/restrict /' /{HOME}/.ssh/authorized_keys", f"sed -i 's/^restrict //' /{HOME}/.ssh/authorized_keys"),
    ],
    ids=["AllowTcpForwarding", "Match", "restrict"],
)
def test_a_host_that_forbids_forwards_is_found_by_the_first_look(site, fresh, forbid, allow):
    on(site, "one", forbid)
    try:
        (finding,) = [one for one in preflight.preflight(site) if one.check == "forwarding"]
        assert finding.host == "one" and "forbids port forwarding" in finding.found and "sshd_config" in finding.remedy
        with pytest.raises(ForwardForbidden, match="forbids port forwarding"):
            session_of(site).master.forward(22)
        assert session_of(site).master.run("echo still").text == "still\n"
    finally:
        on(site, "one", allow)
    session_of(site).close()
    assert not [one for one in preflight.preflight(site) if one.check == "forwarding"]
    with socket.create_connection(("127.0.0.1", session_of(site).master.forward(22)), 10) as client:
        assert client.recv(4) == b"SSH-"
