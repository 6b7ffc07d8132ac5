"""Resources compare what a probe printed with what should be; no host is needed for that."""

import base64
import hashlib
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from airavata_runbook.cluster.session import session_of
from airavata_runbook.distributions.packaging import same_version
from airavata_runbook.engine.host_run import Outcome, converge
from airavata_runbook.engine.probe import probe
from airavata_runbook.engine.resource import Found
from airavata_runbook.errors import NotYet, StepFailed
from airavata_runbook.hosts import vault
from airavata_runbook.hosts.host import Result
from airavata_runbook.images.http import RegistryError
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Subject
from airavata_runbook.resources import (
    Authority,
    Block,
    Certificate,
    Condition,
    Context,
    File,
    Folder,
    Htpasswd,
    Image,
    Modules,
    Packages,
    Service,
    SigningKey,
    Sysctls,
    Upload,
    kernel,
)
from airavata_runbook.resources import certificate as certificate_module
from airavata_runbook.resources.file import with_block
from airavata_runbook.resources.image import Stored
from airavata_runbook.site import Site
from tests.unit.sessions import open_session
from tests.unit.test_engine import ThisMachine

SERVICE = """Type=notify
ExecMainStartTimestamp=Mon 2026-11-23 09:00:00.500000 UTC
LoadState=loaded
ActiveState=active
SubState=running
UnitFileState=enabled
NeedDaemonReload=no
"""


def on_this_machine(resource) -> Found:
    done = subprocess.run(["sh", "-c", resource.probe()], capture_output=True)
    return Found(done.stdout, done.returncode)


@pytest.mark.parametrize(
    "content",
    ["one\ntwo\n", "no newline at the end", "", "END-OF-FILE\n", b"\x00\xff binary", "$HOME `id` \\ 'quoted'\n", "umlaut ä\n"],
)
def test_a_file_is_made_exactly_and_then_found_right(tmp_path, content):
    file = File(str(tmp_path / "folder" / "a file"), content, mode="0640")
    change = file.change(on_this_machine(file), Context(None, None))
    assert change.summary == "create"
    subprocess.run(["sh", "-c", change.script], check=True)
    assert (tmp_path / "folder" / "a file").read_bytes() == (content.encode() if isinstance(content, str) else content)
    assert file.change(on_this_machine(file), Context(None, None)) is None


def test_a_changed_file_is_told_as_a_difference_and_a_secret_one_is_not(tmp_path):
    path = tmp_path / "file"
    path.write_text("old\n")
    path.chmod(0o644)
    shown = File(str(path), "new\n")
    assert "-old" in shown.change(on_this_machine(shown), Context(None, None)).detail
    secret = File(str(path), "canary-hunter2\n", secret=True)
    change = secret.change(on_this_machine(secret), Context(None, None))
    assert "canary" not in change.detail + change.command + change.summary
    path.write_text("canary-hunter2\n")
    assert secret.change(on_this_machine(secret), Context(None, None)) is None


def test_what_others_could_not_read_on_the_host_is_not_shown_in_a_difference(tmp_path):
    path = tmp_path / "admin.conf"
    path.write_text("client-key-data: canary\n")
    path.chmod(0o600)
    ours = File(str(path), "client-key: /etc/kubernetes/pki/admin.key\n", "0600")
    change = ours.change(on_this_machine(ours), Context(None, None))
    assert "canary" not in change.detail and "not shown" in change.detail and "+client-key: /etc" in change.detail
    path.write_text("client-key: /etc/kubernetes/pki/admin.key\n")
    path.chmod(0o644)
    assert ours.change(on_this_machine(ours), Context(None, None)).summary == "mode 644 → 600"


def test_a_file_takes_the_place_of_a_link_to_a_folder_and_leaves_the_folder_alone(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").symlink_to(tmp_path / "folder")
    file = File(str(tmp_path / "file"), "content\n")
    change = file.change(on_this_machine(file), Context(None, None))
    assert change.summary == "replace a symbolic link"
    subprocess.run(["sh", "-ec", change.script], check=True)
    assert file.change(on_this_machine(file), Context(None, None)) is None
    assert not list((tmp_path / "folder").iterdir()) and (tmp_path / "file").read_text() == "content\n"


def test_a_wrong_mode_alone_is_a_change(tmp_path):
    path = tmp_path / "file"
    path.write_text("same\n")
    path.chmod(0o600)
    file = File(str(path), "same\n")
    assert file.change(on_this_machine(file), Context(None, None)).summary == "mode 600 → 644"


def test_a_block_leaves_other_lines_alone():
    first = with_block("127.0.0.1 localhost", "site", ("1.2.3.4 a",))
    assert first == "127.0.0.1 localhost\n# BEGIN site\n1.2.3.4 a\n# END site\n"
    assert (
        with_block(first + "::1 six\n", "site", ("1.2.3.5 b",))
        == "127.0.0.1 localhost\n# BEGIN site\n1.2.3.5 b\n# END site\n::1 six\n"
    )
    found = Found(base64.b64encode(first.encode()))
    assert Block("/etc/hosts", "site", ("1.2.3.4 a",)).change(found, Context(None, None)) is None


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("", None),
        ("1795424400.400000 /etc/a", None),  # 09:00:00.4, before the start
        ("1795424400.600000 /etc/a", "restart: newer /etc/a"),
    ],
)
def test_a_service_restarts_when_a_file_is_younger_than_its_process(line, expected):
    change = Service("x", reads=["/etc/a"]).change(Found((SERVICE + line).encode()), Context(None, None))
    assert (change.summary if change else None) == expected


def test_a_service_that_is_down_is_started_and_enabled():
    text = SERVICE.replace("ActiveState=active", "ActiveState=inactive").replace("enabled", "disabled")
    change = Service("x").change(Found(text.encode()), Context(None, None))
    assert change.summary == "start, enable" and "systemctl start x" in change.shown


@pytest.mark.parametrize(("time", "expected"), [("1795424400.4", "start"), ("1795424400.6", "restart: newer /etc/a")])
def test_a_start_that_is_under_way_with_a_file_as_it_was_is_not_joined(time, expected):
    """flanneld's never ends where the key that it is told has no network."""
    text = SERVICE.replace("ActiveState=active", "ActiveState=activating") + f"{time} /etc/a"
    assert Service("x", reads=["/etc/a"]).change(Found(text.encode()), Context(None, None)).summary == expected


def test_systemd_reads_its_unit_files_anew_once_for_each_change_of_a_service():
    """To enable does so too (systemctl(1)); it takes longer than most services' start."""

    def commands(**state):
        shown = "\n".join(f"{key}={value}" for key, value in {"LoadState": "loaded", "NeedDaemonReload": "no", **state}.items())
        return Service("kubelet").change(Found(shown.encode()), Context(None, None)).shown.splitlines()

    assert commands(ActiveState="inactive", UnitFileState="disabled") == [
        "systemctl enable --quiet kubelet",
        "systemctl start kubelet",
    ]
    assert commands(ActiveState="inactive", UnitFileState="enabled") == ["systemctl daemon-reload", "systemctl start kubelet"]
    assert commands(ActiveState="active", UnitFileState="disabled") == ["systemctl enable --quiet kubelet"]
    assert commands(ActiveState="active", UnitFileState="enabled", NeedDaemonReload="yes") == [
        "systemctl daemon-reload",
        "systemctl restart kubelet",
    ]


def test_what_is_awaited_after_a_change_is_not_asked_before_it():
    asked = []
    ready = Condition("it to be ready", check=lambda: asked.append("it") or "")
    change = ready.change(Found(), Context("host", None, touched={"service kube-apiserver"}))
    assert (change.waits, asked) == (True, [])
    change.call()
    assert asked == ["it"]
    assert ready.change(Found(), Context("host", None)) is None and asked == ["it", "it"]


def test_a_missing_service_waits_for_its_package_in_a_run_and_is_foreseen_in_a_plan():
    text = b"LoadState=not-found\nActiveState=inactive\nUnitFileState=\n"
    with pytest.raises(NotYet, match="service x is installed"):
        Service("x").change(Found(text), Context(None, None))
    assert Service("x").change(Found(text), Context(None, None, planning=True)).summary == "start, enable"


def test_only_missing_packages_are_installed_at_their_versions():
    found = Found(b"deb\nii  etcd 3.6.16-1\nrc  flannel 0.28.10-1\n")
    change = Packages({"etcd": "3.6.16", "flannel": "0.28.10"}, "ours").change(found, Context(None, None))
    assert "flannel=0.28.10" in change.script and "etcd" not in change.script
    assert Packages({"etcd": "3.6.16"}, "ours").change(found, Context(None, None)) is None


def test_a_host_without_the_package_manager_of_its_distribution_says_so():
    with pytest.raises(StepFailed, match="no supported package manager"):
        Packages({"etcd": "3.6.16"}, "ours").change(Found(b""), Context(None, None))


def test_versions_compare_whole():
    assert same_version("1:1.36.3-1", "1.36.3") and not same_version("1.36.30-1", "1.36.3")


def test_a_version_with_its_release_is_another_when_the_build_is_another():
    assert same_version("1.36.3-1+721a3a5e", "1.36.3-1+721a3a5e") and same_version("1.36.3-1+721a3a5e", "1.36.3")
    assert not same_version("1.36.3-1", "1.36.3-1+721a3a5e") and not same_version("1.36.3-1+721a3a5f", "1.36.3-1+721a3a5e")
    change = Packages({"etcd": "3.6.16-1+aa"}, "ours").change(Found(b"deb\nii  etcd 3.6.16-1+bb\n"), Context(None, None))
    assert change.shown.endswith(" --allow-downgrades etcd=3.6.16-1+aa")
    fresh = Packages({"etcd": "3.6.16-1+aa"}, "ours").change(Found(b"deb\n"), Context(None, None))
    assert "--allow-downgrades" not in fresh.shown


def test_a_folder_is_made_with_its_mode_and_keeps_what_is_in_it(tmp_path):
    folder = Folder(str(tmp_path / "data"), "0700")
    change = folder.change(on_this_machine(folder), Context(None, None))
    assert change.summary == "create"
    subprocess.run(["sh", "-ec", change.script], check=True)
    assert folder.change(on_this_machine(folder), Context(None, None)) is None
    (tmp_path / "data" / "kept").touch()
    (tmp_path / "data").chmod(0o755)
    change = folder.change(on_this_machine(folder), Context(None, None))
    assert change.summary == "755 0:0 directory → 700 0:0 directory"
    subprocess.run(["sh", "-ec", change.script], check=True)
    assert folder.change(on_this_machine(folder), Context(None, None)) is None and (tmp_path / "data" / "kept").exists()


def test_a_folder_below_one_that_gives_its_group_on_gets_the_mode_that_it_should_have(tmp_path):
    tmp_path.chmod(0o2775)
    folder = Folder(str(tmp_path / "data"), "0700")
    subprocess.run(["sh", "-ec", folder.change(on_this_machine(folder), Context(None, None)).script], check=True)
    assert folder.change(on_this_machine(folder), Context(None, None)) is None
    (tmp_path / "data").chmod(0o2700)
    change = folder.change(on_this_machine(folder), Context(None, None))
    assert change.summary == "2700 0:0 directory → 700 0:0 directory"
    subprocess.run(["sh", "-ec", change.script], check=True)
    assert folder.change(on_this_machine(folder), Context(None, None)) is None


def test_a_link_to_a_folder_is_the_folder_that_it_leads_to(tmp_path):
    (tmp_path / "bulk").mkdir(mode=0o755)
    (tmp_path / "data").symlink_to(tmp_path / "bulk")
    folder = Folder(str(tmp_path / "data"), "0700", "12:34")
    change = folder.change(on_this_machine(folder), Context(None, None))
    assert change.summary == "755 0:0 directory → 700 12:34 directory"
    subprocess.run(["sh", "-ec", change.script], check=True)
    assert folder.change(on_this_machine(folder), Context(None, None)) is None and (tmp_path / "data").is_symlink()
    now = (tmp_path / "bulk").stat()
    assert (now.st_mode & 0o7777, now.st_uid, now.st_gid) == (0o700, 12, 34)


def test_a_password_file_is_written_anew_only_when_its_password_is_another(tmp_path):
    path = tmp_path / "htpasswd"
    first = Htpasswd(str(path), "admin", lambda: "canary-hunter2")
    change = first.change(on_this_machine(first), Context(None, None))
    assert "canary" not in repr(first) + change.summary + change.detail + change.command + change.script
    subprocess.run(["sh", "-ec", change.script], check=True)
    assert path.read_text().startswith("admin:$2") and path.stat().st_mode & 0o777 == 0o600
    assert first.change(on_this_machine(first), Context(None, None)) is None
    for other in (Htpasswd(str(path), "admin", lambda: "another-word"), Htpasswd(str(path), "root", lambda: "canary-hunter2")):
        assert other.change(on_this_machine(other), Context(None, None)).summary == "replace"
    path.chmod(0o644)
    assert first.change(on_this_machine(first), Context(None, None)).summary == "replace"


def test_kernel_settings_differ_one_by_one_and_an_absent_one_loads_its_module():
    wanted = Sysctls({"net.ipv4.ip_forward": 1, "net.bridge.bridge-nf-call-iptables": 1}, modules=("br_netfilter",))
    right = Found(b"net.bridge.bridge-nf-call-iptables=1\nnet.ipv4.ip_forward=1\n", 0)
    assert wanted.change(right, Context(None, None)) is None
    off = wanted.change(Found(right.stdout.replace(b"forward=1", b"forward=0"), 0), Context(None, None))
    assert off.script == "sysctl -q -w net.ipv4.ip_forward=1\n" and off.detail == "net.ipv4.ip_forward 0 → 1\n"
    absent = wanted.change(Found(right.stdout.replace(b"iptables=1", b"iptables="), 0), Context(None, None))
    assert absent.script == "modprobe br_netfilter\nsysctl -q -w net.bridge.bridge-nf-call-iptables=1\n"


@pytest.mark.parametrize("key", [Authority("ca", "a site's authority"), SigningKey("service-accounts")])
def test_a_private_key_that_others_may_read_is_taken_back_and_not_made_anew(key):
    ca = pki.new_ca("a site's authority")
    content = b"".join(base64.b64encode(part) + b"\n" for part in (ca.cert, ca.key)) if isinstance(key, Authority) else b""
    assert key.change(Found(content + b"600 root:root\n", 0), Context(None, None)) is None
    for state in ("644 root:root", "600 nobody:nogroup"):
        change = key.change(Found(content + state.encode() + b"\n", 0), Context(None, None))
        assert change.summary == f"{state} → 600 root:root" and change.call is None
        assert "chmod 600 /etc/kubernetes/pki/" in change.script and "chown root:root" in change.script


KEYS = Site.load({"name": "keys", "nodes": [{"name": "head", "address": "192.0.2.11", "role": "master"}]})


@pytest.fixture
def keys(tmp_path, monkeypatch):
    """A folder for what is under /etc/kubernetes/pki, and a host whose scripts run here; nothing is remembered of either."""
    for module in (certificate_module, vault):
        monkeypatch.setattr(module, "PKI", str(tmp_path))
    open_session(monkeypatch, KEYS, {"head": ThisMachine()})
    return tmp_path


def brought_about(resource, planning: bool = False) -> Outcome:
    """What comes of it on the host of `keys`, for a process that knows nothing yet."""
    session = session_of(KEYS)
    session.vault = vault.Vault(session.master)
    return converge(session, session.master, lambda: [resource], planning, lambda *_: None)


CA, TOKENS = Authority("ca", "a site's authority"), SigningKey("service-accounts")
SERVER = Subject("server", dns=("one",), usages=("server",))


@pytest.mark.parametrize(("made", "public"), [(CA, "ca.crt"), (TOKENS, "service-accounts.pub")])
def test_a_lost_key_is_said_and_never_made_anew_over_what_it_belongs_to(keys, made, public):
    assert brought_about(made).items[0].status == "changed" and brought_about(made).items[0].status == "ok"
    before, key = (keys / public).read_bytes(), (keys / public).with_suffix(".key")
    kept = key.read_bytes()
    for lose in (key.unlink, key.touch):  # moved away; or empty, as a host may keep it that lost its power
        lose()
        for planning in (True, False):
            error = brought_about(made, planning).error
            assert isinstance(error, StepFailed) and "never replaced" in error.message and "restore" in error.remedy
            assert "the private key is missing" in error.found
    assert (keys / public).read_bytes() == before and sorted(path.name for path in keys.iterdir()) == sorted([public, key.name])
    key.write_bytes(kept)
    key.chmod(0o600)
    assert brought_about(made).items[0].status == "ok"


@pytest.mark.parametrize(("made", "public"), [(CA, "ca.crt"), (TOKENS, "service-accounts.pub")])
def test_what_an_interrupted_first_making_leaves_is_finished(keys, made, public):
    assert brought_about(made).items[0].status == "changed"
    (keys / public).unlink()
    assert brought_about(made).items[0].status == "changed" and brought_about(made).items[0].status == "ok"


@pytest.mark.parametrize("made", [CA, TOKENS])
def test_a_key_is_written_before_its_public_half(keys, made):
    host, scripts = session_of(KEYS).master, []
    run = host.run
    host.run = lambda script, **_: scripts.append(script) or run(script)
    brought_about(made)
    making = "".join(script for script in scripts if "mv -f" in script)
    assert making.index(".key.new") < making.index(".crt.new" if made is CA else ".pub.new")


def test_a_plan_does_not_call_a_certificate_right_whose_authority_is_yet_to_be_made(keys):
    server = Certificate(f"{keys}/server", SERVER)
    planned = brought_about(server, planning=True).items[0]
    assert (planned.status, planned.summary) == ("would change", "create"), "nothing is there: that it is issued is known"
    brought_about(CA)
    assert brought_about(server).items[0].status == "changed"
    assert brought_about(server, planning=True).items[0].status == "ok"
    for name in ("ca.crt", "ca.key"):
        (keys / name).unlink()
    planned = brought_about(server, planning=True).items[0]
    assert (planned.status, planned.summary) == ("would change", "known after the certificate authority ca is made")


def test_an_upload_is_sent_when_the_hosts_file_is_another(tmp_path):
    source = tmp_path / "tool-1.0-abc.deb"
    source.write_bytes(b"package")
    upload = Upload(str(tmp_path / "there" / "tool_1.0_amd64.deb"), source, hashlib.sha256(b"package").hexdigest())
    (tmp_path / "there").mkdir()
    host = type("host", (), {"name": "one"})()  # only named, nothing is sent
    assert upload.change(on_this_machine(upload), Context(host, None)).summary == "create"
    Path(upload.path).write_bytes(b"cut sho")
    change = upload.change(on_this_machine(upload), Context(host, None))
    assert change.summary == "replace" and "scp tool_1.0_amd64.deb one:" in change.command and "abc" not in change.command
    Path(upload.path).write_bytes(b"package")
    assert upload.change(on_this_machine(upload), Context(host, None)) is None


class Answers:
    """Stands in for a registry's client."""

    def __init__(self, answer):
        self.answer, self.pushed = answer, []

    def manifest_digest(self, repository, tag):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def push(self, repository, tag, layout, done):
        self.pushed.append((repository, tag, layout))
        return "sha256:pushed"


def compared(resource, planning=False):
    context = Context(None, SimpleNamespace(planned={}, registry_host=SimpleNamespace(name="head")), planning)
    (found,) = probe([resource], context)
    return resource.change(found, context)


def test_an_image_is_pushed_when_its_tag_is_not_there():
    pulls, registry = Answers(None), Answers(AssertionError("to look up an image no right to push is used"))
    layout = SimpleNamespace(size=9)
    image = Image("portal", "sha-1", lambda: layout, lambda: pulls, lambda: registry)
    change = compared(image)
    change.call()
    assert change.summary == "push" and registry.pushed == [("portal", "sha-1", layout)]
    assert image.digests == {"portal": "sha256:pushed"}
    pulls.answer = "sha256:…"
    assert compared(image) is None


def test_a_plan_knows_of_an_image_once_the_registry_is_up_and_a_run_says_that_it_is_not():
    unreachable = Answers(RegistryError("connection refused", retryable=True))
    down = Image("portal", "sha-1", lambda: None, lambda: unreachable, lambda: None)
    with pytest.raises(NotYet):
        compared(down, planning=True)
    with pytest.raises(RegistryError, match="connection refused"):
        compared(down)
    refused = Image("portal", "sha-1", lambda: None, lambda: Answers(RegistryError("wrong password")), lambda: None)
    with pytest.raises(RegistryError, match="wrong password"):
        compared(refused)


def test_a_registry_in_trouble_is_asked_for_its_own_log():
    class Host:
        name = "head"

        def run(self, script):
            assert "journalctl -u docker-distribution" in script
            return Result(b"write: no space left on device\n")

    class Troubled(Answers):
        def push(self, repository, tag, layout, done):
            raise RegistryError("a registry refuses", found="500 UNKNOWN unknown error")

    image = Image("portal", "sha-1", lambda: SimpleNamespace(size=9), lambda: None, lambda: Troubled(None))
    session = SimpleNamespace(registry_host=Host(), site=Site.load("lab"))
    change = image.change(Found(answer=Stored("", "", False)), Context(None, session))
    with pytest.raises(RegistryError, match=r"500 UNKNOWN unknown error\s+its log: write: no space left") as error:
        change.call()
    assert error.value.remedy == "free disk space for /opt/registry on head, then run again: what was sent stays"


@pytest.mark.parametrize("openssl", [True, False])
def test_a_large_file_is_compared_by_its_digest_whichever_program_the_host_has(tmp_path, openssl):
    file, programs = tmp_path / "large", tmp_path / "bin"
    file.write_bytes(b"content")
    programs.mkdir()
    for name in ("sha256sum", *(["openssl"] if openssl else [])):
        (programs / name).symlink_to(shutil.which(name))
    wanted = Upload(str(file), file, hashlib.sha256(b"content").hexdigest())

    def found() -> Found:
        done = subprocess.run(["/bin/sh", "-c", wanted.probe()], env={"PATH": str(programs)}, capture_output=True)
        return Found(done.stdout, done.returncode)

    assert ("stdin" in found().text) == openssl and wanted.change(found(), None) is None
    file.write_bytes(b"changed")
    assert wanted.change(found(), SimpleNamespace(host=SimpleNamespace(name="one"))).summary == "replace"
    there = Upload(str(tmp_path / "missing"), file, "").probe()
    assert subprocess.run(["/bin/sh", "-c", there], env={"PATH": str(programs)}, capture_output=True).returncode


def test_a_kernel_module_is_loaded_where_it_is_neither_loaded_nor_built_in(tmp_path):
    loaded = sorted(Path("/sys/module").iterdir())[0].name
    missing = Modules((loaded, "not_there"))
    change = missing.change(on_this_machine(missing), Context(None, None))
    assert (change.summary, change.script) == ("load 1", "modprobe not_there\n")
    built_in = tmp_path / "modules.builtin"
    built_in.write_text("kernel/net/netfilter/not_there.ko\n")
    probe = missing.probe().replace("/lib/modules/$(uname -r)/modules.builtin", str(built_in))
    done = subprocess.run(["sh", "-euc", probe], capture_output=True)
    assert missing.change(Found(done.stdout, done.returncode), Context(None, None)) is None and done.returncode == 0


def test_a_kernel_module_in_use_is_known_in_a_container_too(tmp_path, monkeypatch):
    (tmp_path / "made").touch()
    monkeypatch.setattr(kernel, "SIGNS", {"not_there": f"{tmp_path}/made"})
    modules = Modules(("not_there",))
    assert modules.change(on_this_machine(modules), Context(None, None)) is None
