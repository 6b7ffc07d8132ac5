"""`ssh.config: true`: what ~/.ssh/config says of a host, as OpenSSH reads it."""

import pytest

from airavata_runbook.errors import SiteError
from airavata_runbook.hosts import hop, user_keys
from airavata_runbook.hosts.connection import Connection
from airavata_runbook.hosts.hop import route
from airavata_runbook.site import Site, ssh_config
from tests.unit.ssh_servers import fingerprint, keygen, public, serving

CONFIG = """\
Include extra
Host web
  HostName 10.0.0.5
  Port 2222
  User bob
  IdentityFile ~/.ssh/nowhere
  IdentityFile ~/.ssh/%r-key
  ProxyJump bastion
Host bastion
  HostName gate.example.org
  User gatekeeper
  IdentityFile ~/.ssh/gate-key
Host many
  ProxyJump a@one:24,two
Host commanded
  ProxyCommand nc -x secret:1080 %h %p
Host circle
  ProxyJump circle2
Host circle2
  ProxyJump circle
"""


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's .ssh, with that configuration."""
    folder = tmp_path / ".ssh"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (folder / "config").write_text(CONFIG.replace("Include extra", f"Include {folder}/extra"))
    (folder / "extra").write_text("Host included\n  User carol\n")
    (folder / "bob-key").write_text("a key")
    return folder


def site(**ssh) -> Site:
    node = {"name": "one", "address": "192.0.2.11", "role": "master", "ssh": {"config": True, **ssh}}
    return Site.load({"name": "far", "nodes": [node]})


def test_an_alias_has_what_the_file_says(home):
    ssh = site(host="web").master.ssh
    assert (ssh.host, ssh.port, ssh.user, ssh.jump) == ("10.0.0.5", 2222, "bob", "bastion")
    assert ssh.key == "~/.ssh/bob-key"  # the first that exists
    assert site(host="included").master.ssh.user == "carol"


def test_the_site_file_wins(home):
    ssh = site(host="web", user="root", port=22, key="own", jump="me@other").master.ssh
    assert (ssh.host, ssh.port, ssh.user, ssh.key, ssh.jump) == ("10.0.0.5", 22, "root", "own", "me@other")
    (home / "root-key").write_text("a key")
    assert site(host="web", user="root").master.ssh.key == "~/.ssh/root-key"


def test_a_host_that_the_file_does_not_name_keeps_the_defaults(home):
    ssh = site(host="elsewhere").master.ssh
    assert (ssh.host, ssh.port, ssh.user, ssh.key, ssh.jump) == ("elsewhere", 22, "root", None, None)
    assert site().master.ssh.host == "192.0.2.11"
    (home / "config").unlink()
    assert site(host="web").master.ssh.host == "web"


def test_without_ssh_config_the_file_is_not_read(home):
    assert site(host="web", config=False).master.ssh.host == "web"


def test_a_jump_host_may_be_an_alias(home):
    bastion, host = route(site(host="web").master).chain
    assert (bastion.address, bastion.ssh.user, bastion.ssh.key) == ("gate.example.org", "gatekeeper", "~/.ssh/gate-key")
    assert host.login == "bob@10.0.0.5:2222"


def test_several_jump_hosts_are_gone_through_in_order(home):
    chain = route(site(host="many").master).chain
    assert [one.login for one in chain] == ["a@one:24", "root@two:22", "root@many:22"]
    assert "-J a@one:24,root@two:22" in chain[-1].command
    assert [one.pin for one in chain] == ["", "ssh.jump_fingerprint", "ssh.fingerprint"]


@pytest.mark.parametrize(
    ("jump", "login"),
    [
        ("bastion", "operator@bastion:22"),
        ("bastion:24", "operator@bastion:24"),
        (r"DOM\me@bastion", r"DOM\me@bastion:22"),
        ("me@corp@bastion:24", "me@corp@bastion:24"),
        ("me@[fd00::1]:24", "me@[fd00::1]:24"),
        ("[fd00::1]", "operator@[fd00::1]:22"),
    ],
)
def test_a_jump_host_is_given_as_openssh_takes_it(home, jump, login):
    bastion, _ = route(site(host="elsewhere", user="operator", jump=jump, config=False).master).chain
    assert bastion.login == login


def test_jump_hosts_that_go_in_circles_are_refused(home):
    with pytest.raises(SiteError, match="too many jump hosts") as refused:
        route(site(host="circle").master)
    assert f"at most {hop.LONGEST}" in refused.value.needed


def test_a_proxy_command_is_refused_without_its_arguments(home):
    with pytest.raises(SiteError, match="ProxyCommand cannot be used") as refused:
        site(host="commanded")
    assert "ProxyJump" in refused.value.remedy and "secret" not in str(refused.value) and "ProxyCommand nc" in str(refused.value)


def test_an_invalid_file_is_refused_with_what_openssh_says(home):
    (home / "config").write_text("Host *\n  Prot 22\n")
    with pytest.raises(SiteError, match="configuration of OpenSSH is invalid") as refused:
        site(host="web")
    assert "prot" in refused.value.found.lower() and str(home / "config") in str(refused.value)


def test_a_machine_without_openssh_is_told_what_to_install(home, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SiteError, match="OpenSSH's client did not run") as refused:
        site(host="web")
    assert "openssh-client" in refused.value.remedy


def test_aliases_of_host_and_jump_host_are_connected_to(home):
    user_keys._passphrase.cache_clear()
    host, gate, own, other = (keygen(home / name) for name in ("host", "gate", "own", "other"))
    with serving([host], [own]) as server, serving([gate], [other]) as bastion:
        (home / "config").write_text(
            f"Host inner\n HostName 127.0.0.1\n Port {server.port}\n User bob\n IdentityFile {own}\n ProxyJump outer\n"
            f"Host outer\n HostName 127.0.0.1\n Port {bastion.port}\n User gatekeeper\n IdentityFile {other}\n"
        )
        (home / "known_hosts").write_text(
            f"[127.0.0.1]:{server.port} {public(host)}\n[127.0.0.1]:{bastion.port} {public(gate)}\n"
        )
        Connection("one", site(host="inner").master).close()
        Connection("one", site(host="inner", jump_fingerprint=fingerprint(gate)).master).close()
        assert (server.logins, bastion.logins) == (["bob"] * 2, ["gatekeeper"] * 2)


def test_only_what_may_be_an_alias_is_looked_up(home, monkeypatch):
    monkeypatch.setattr(ssh_config, "settings", lambda alias: pytest.fail(alias))
    with pytest.raises(SiteError, match="ssh.host"):
        site(host="-oProxyCommand=true")
    with pytest.raises(SiteError, match="ssh.config"):
        site(host="web", config="yes")
