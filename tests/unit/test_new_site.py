"""`init`: a site file from options or answers, whose hosts' keys were compared, written whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from airavata_runbook import cli
from airavata_runbook.errors import HostUnreachable
from airavata_runbook.hosts import first_contact, known_hosts
from airavata_runbook.run.new_site import refuse_taken, write_new
from airavata_runbook.site import Site
from tests.unit.ssh_servers import fingerprint, keygen, public, serving

PROJECT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def keys(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    return {name: keygen(folder / name) for name in ("one", "two", "user")}


@pytest.fixture(scope="module")
def servers(keys):
    """The SSH servers of two hosts."""
    with serving([keys["one"]], [keys["user"]]) as one, serving([keys["two"]], [keys["user"]]) as two:
        yield one, two


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project in which nothing is known of any host; after the login a host says that it has these addresses."""
    (tmp_path / "parameters").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(known_hosts, "SYSTEM_FILES", ())
    monkeypatch.setattr(known_hosts, "USER_FILES", (str(tmp_path / "known_hosts"),))
    found = {1: {"10.7.0.11": "ens3"}, 2: {"10.7.0.12": "ens4", "192.168.3.4": "wlan0"}}

    def addresses(node):
        return found[1 if node.name in ("head", "master") else 2]

    monkeypatch.setattr(first_contact, "addresses", addresses)
    return tmp_path


def options(servers, *more: str) -> list[str]:
    one, two = servers
    hosts = [f"head=admin@127.0.0.1:{one.port}/10.7.0.11", f"one=admin@127.0.0.1:{two.port}/10.7.0.12"]
    return ["init", "mine", "--host", hosts[0], "--host", hosts[1], "--stand-in", *more]


def fingerprints(keys) -> list[str]:
    return ["--fingerprint", f"head={fingerprint(keys['one'])}", "--fingerprint", f"one={fingerprint(keys['two'])}"]


def test_unknown_host_keys_are_shown_all_and_nothing_is_written(project, servers, keys, capsys):
    assert cli.main(options(servers)) == 1
    message = capsys.readouterr().err
    assert fingerprint(keys["one"]) in message and fingerprint(keys["two"]) in message
    assert "ssh_host_ed25519_key.pub" in message and "--fingerprint head=SHA256:" in message
    assert list((project / "parameters").iterdir()) == [] and not (project / "known_hosts").exists()


def test_a_site_from_options_loads_and_passes_the_checks_of_its_file(project, servers, keys, capsys):
    assert cli.main(options(servers, *fingerprints(keys))) == 0
    site = Site.load("mine")
    assert [(node.name, str(node.address), node.interface, node.role) for node in site.nodes] == [
        ("head", "10.7.0.11", "ens3", "master"),
        ("one", "10.7.0.12", "ens4", "worker"),
    ]
    assert [node.ssh.fingerprint for node in site.nodes] == [fingerprint(keys["one"]), fingerprint(keys["two"])]
    assert {node.ssh.host for node in site.nodes} == {"127.0.0.1"} and site.ssh.user == "admin" and site.airavata.stand_in
    text = (project / "parameters" / "mine.yaml").read_text()
    assert text.count("#") > 8 and "STAND-IN" in text and max(map(len, text.splitlines())) <= 130
    assert "next: airavata-runbook check mine" in capsys.readouterr().out
    assert cli.main(["check", "mine", "--offline"]) == 0


def test_a_key_is_shown_through_a_jump_host_that_is_known_and_through_no_other(project, servers, keys, capsys):
    one, jump = servers
    words = [
        "init",
        "mine",
        "--host",
        f"head=admin@127.0.0.1:{one.port}",
        "--key",
        str(keys["user"]),
        "--jump",
        f"me@127.0.0.1:{jump.port}",
    ]
    assert cli.main(words) == 1
    message = capsys.readouterr().err
    assert "jump host 127.0.0.1" in message and "ssh.jump_fingerprint" in message and fingerprint(keys["one"]) not in message
    assert cli.main([*words, "--jump-fingerprint", fingerprint(keys["two"])]) == 1
    assert fingerprint(keys["one"]) in capsys.readouterr().err and jump.logins[-1] == "me" and "admin" not in one.logins


def test_hosts_in_known_hosts_need_no_fingerprint(project, servers, keys):
    lines = [f"[127.0.0.1]:{server.port} {public(keys[name])}" for server, name in zip(servers, ("one", "two"), strict=True)]
    (project / "known_hosts").write_text("\n".join(lines))
    assert cli.main(options(servers)) == 0
    assert "fingerprint: " not in (project / "parameters" / "mine.yaml").read_text()


def test_an_existing_file_or_site_is_never_overwritten(project, servers, keys, capsys):
    for file, name in (("mine", "other"), ("other", "mine")):
        path = project / "parameters" / f"{file}.yaml"
        path.write_text(f"site: {{name: {name}}}")
        assert cli.main(options(servers, *fingerprints(keys))) == 1
        assert "there is a site mine already" in capsys.readouterr().err and path.read_text().startswith("site: {name")
        path.unlink()
    (project / "parameters" / "broken.yaml").write_text("site: [")
    refuse_taken(project, "mine")
    (project / "parameters" / "late.yaml").write_text("somebody was faster")
    with pytest.raises(Exception, match="exists by now"):
        write_new(project / "parameters" / "late.yaml", "text")
    assert {path.name for path in (project / "parameters").iterdir()} == {"broken.yaml", "late.yaml"}


@pytest.mark.parametrize(
    "words, message",
    [
        (["--host", "head"], "NAME=[USER@]HOST"),
        (["--host", "Head=admin@10.0.0.1"], "the name needs lower-case letters"),
        (["--host", "head=-x@10.0.0.1"], "the user needs"),
        (["--host", "head=10.0.0.1:70000"], "the port needs at most 65535"),
        (["--host", "head=10.0.0.1/300.1.1.1"], "the address needs an IPv4 address"),
        (["--host", "head=10.0.0.1", "--fingerprint", "haed=SHA256:x"], "unknown host"),
        (["--host", "head=10.0.0.1", "--fingerprint", "head=MD5:x"], "invalid --fingerprint"),
        (["--host", "head=10.0.0.1", "--certificate", "x"], "go together"),
        (["--host", "head=10.0.0.1", "--host", "head=10.0.0.2"], "name head is used by more than one node"),
        (["--host", "head=gateway.example.org"], "address of a host is not known"),
        (["--host", "head=10.0.0.1", "--stack", "unified"], "airavata.unified.realm"),
        ([], "no terminal to ask on"),
    ],
)
def test_wrong_options_are_refused_with_what_is_needed(project, capsys, words, message):
    assert cli.main(["init", "mine", *words, "--offline"]) == 1
    assert message in capsys.readouterr().err and list((project / "parameters").iterdir()) == []


def test_a_certificate_of_ones_own_and_no_connection(project, keys, capsys):
    for name in ("my.crt", "my.key"):
        (project / name).write_text("no certificate")
    words = ["--offline", "--certificate", "my.crt", "--certificate-key", "my.key", "--registry", "images.example.org"]
    assert cli.main(["init", "mine", "--host", "head=10.0.0.1", *words]) == 1, "the file is no certificate, which check says"
    site = Site.load("mine")
    assert site.registry.certificate.key == "file:my.key" and site.registry.name == "images.example.org"
    assert "sources" in capsys.readouterr().out


class Answers:
    """What is typed at a terminal, question by question; the questions."""

    def __init__(self, monkeypatch, *typed: str | type[BaseException]):
        self.typed, self.asked = list(typed), []
        monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
        monkeypatch.setattr("builtins.input", self)

    def __call__(self, question: str = "") -> str:
        self.asked.append(question)
        answer = self.typed.pop(0)
        if not isinstance(answer, str):
            raise answer
        return answer


def test_answers_on_a_terminal_make_the_same_file(project, servers, keys, monkeypatch, capsys):
    answers = Answers(
        monkeypatch,
        *("Not A Name", "mine"),
        *(f"admin@127.0.0.1:{servers[0].port}", "", "", "yes"),  # the master: its name as proposed; the fingerprint is the same
        "10.7.0.11",  # which of its addresses
        "",  # no more hosts
        "n",  # no certificate
        "classic",
        "y",  # STAND-INs
    )
    assert cli.main(["init"]) == 0
    said = capsys.readouterr().out
    assert "needs lower-case letters" in said and fingerprint(keys["one"]) in said and "console" in said
    site = Site.load("mine")
    assert site.master.ssh.fingerprint == fingerprint(keys["one"]) and str(site.master.address) == "10.7.0.11"
    assert answers.typed == [] and "[master]" in answers.asked[3]


@pytest.mark.parametrize("answer", ["no", "", "y", "SHA256:" + "A" * 43])
def test_a_key_that_is_not_confirmed_leaves_the_host_out(project, servers, keys, monkeypatch, capsys, answer):
    Answers(monkeypatch, f"127.0.0.1:{servers[0].port}", "", "admin", answer, KeyboardInterrupt)
    assert cli.main(["init", "mine"]) == 130
    assert "the host is left out" in capsys.readouterr().out
    assert list((project / "parameters").iterdir()) == [] and not (project / "known_hosts").exists()


def test_another_user_is_asked_for_when_the_login_is_refused(project, servers, keys, monkeypatch, capsys):
    users = []

    def addresses(node):
        users.append(node.ssh.user)
        if node.ssh.user != "debian":
            raise HostUnreachable("the host refused the login")
        return {"127.0.0.1": "eth0"}

    monkeypatch.setattr(first_contact, "addresses", addresses)
    Answers(monkeypatch, f"127.0.0.1:{servers[0].port}", "", "root", fingerprint(keys["one"]), "y", "debian", KeyboardInterrupt)
    assert cli.main(["init", "mine"]) == 130 and users == ["root", "debian"]
    assert "refused the login" in capsys.readouterr().out


def test_the_file_is_what_a_person_would_write(project):
    assert cli.main(["init", "mine", "--host", "head=10.0.0.1", "--host", "one=debian@10.0.0.2", "--offline"]) == 0
    content = yaml.safe_load((project / "parameters" / "mine.yaml").read_text())["site"]
    assert content["nodes"][1] == {
        "name": "one",
        "address": "10.0.0.2",
        "interface": "eth0",
        "role": "worker",
        "ssh": {"user": "debian"},
    }
    command = [sys.executable, "-m", "airavata_runbook.cli", "init"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=project, env={"PYTHONPATH": str(PROJECT)}
    )
    assert done.returncode == 1 and "no terminal" in done.stderr
