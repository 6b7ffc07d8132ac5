"""Whatever a host answers, a resource reads it rightly or fails with one clear message; it never calls it ok by mistake.

The outputs that are spoilt here were recorded: from this machine's own shell, or from a lab host where they are written out.
"""

import base64
import hashlib
import random
import subprocess
from types import SimpleNamespace

import pytest
from websocket import WebSocketConnectionClosedException

from airavata_runbook import wellknown
from airavata_runbook.chapters import certificates, etcd_flannel, probes, verify
from airavata_runbook.checks import preflight
from airavata_runbook.checks.facts import Listening
from airavata_runbook.checks.kernel import KernelFeatures
from airavata_runbook.checks.types import Finding
from airavata_runbook.cluster import etcd
from airavata_runbook.cluster.session import Session
from airavata_runbook.engine.probe import compare
from airavata_runbook.engine.report import Failure, Item, Report, report_html
from airavata_runbook.engine.resource import ABSENT, Found
from airavata_runbook.errors import NotYet, RunbookError, StepFailed
from airavata_runbook.hosts import facts, vault
from airavata_runbook.hosts.batch import batch, split
from airavata_runbook.hosts.facts import HOST_FACTS
from airavata_runbook.hosts.snapshot import HostSnapshot
from airavata_runbook.pki import htpasswd
from airavata_runbook.pki import issue as pki
from airavata_runbook.resources import (
    Authority,
    Block,
    Context,
    File,
    Folder,
    Generated,
    Htpasswd,
    Packages,
    Removed,
    Service,
    SigningKey,
    Stopped,
    Sysctls,
    Upload,
)
from airavata_runbook.run import page as report_page
from airavata_runbook.run.report import ChapterError, ChapterReport, RunReport
from airavata_runbook.site import Site
from tests.unit.ssh_server import host_with
from tests.unit.test_facts_host import NODE, snapshot, texts
from tests.unit.test_resources import on_this_machine

CONTEXT = Context(SimpleNamespace(name="one"), None)
SERVICE = (
    b"Type=notify\nExecMainStartTimestamp=Mon 2026-11-23 09:00:00.500000 UTC\nLoadState=loaded\nActiveState=active\n"
    b"SubState=running\nUnitFileState=enabled\nNeedDaemonReload=no\n1795424000.000000 /etc/etcd/etcd.conf\n"
)
PACKAGES = b"deb\nii  conntrack 1:1.4.7-1+b2\nii  etcd 3.6.16-1\n"
SHOW = b"LoadState=loaded\nActiveState=inactive\nUnitFileState=disabled\n"


@pytest.fixture
def cases(tmp_path):
    """(resource, what its probe prints when it is as it should be), by name."""
    (tmp_path / "file").write_text("content = 1\n")
    (tmp_path / "file").chmod(0o644)
    (tmp_path / "folder").mkdir(mode=0o755)
    (tmp_path / "folder").chmod(0o755)
    (tmp_path / "hosts").write_text("127.0.0.1 localhost\n# BEGIN site\n10.0.0.1 one\n# END site\n")
    (tmp_path / "htpasswd").write_text(htpasswd.htpasswd_entry("admin", "password") + "\n")
    (tmp_path / "htpasswd").chmod(0o600)
    file, secret = File(f"{tmp_path}/file", "content = 1\n"), File(f"{tmp_path}/file", "content = 1\n", secret=True)
    found = {
        name: (resource, on_this_machine(resource))
        for name, resource in {
            "file": file,
            "secret": secret,
            "folder": Folder(f"{tmp_path}/folder"),
            "block": Block(f"{tmp_path}/hosts", "site", ("10.0.0.1 one",)),
            "upload": Upload(f"{tmp_path}/file", tmp_path / "file", hashlib.sha256(b"content = 1\n").hexdigest()),
            "htpasswd": Htpasswd(f"{tmp_path}/htpasswd", "admin", lambda: "password"),
        }.items()
    }
    ca = pki.new_ca("hostile")
    encoded = b"\n".join(base64.b64encode(part) for part in (ca.cert, ca.key)) + b"\n600 root:root\n"
    return found | {
        "service": (Service("etcd", ["/etc/etcd/etcd.conf"]), Found(SERVICE)),
        "packages": (Packages({"etcd": "3.6.16", "conntrack": "1.4.7"}, "ours"), Found(PACKAGES)),
        "sysctls": (Sysctls({"net.ipv4.ip_forward": 1}), Found(b"net.ipv4.ip_forward=1\n")),
        "generated": (Generated("password"), Found(b"600\n")),
        "authority": (Authority("ca", "hostile"), Found(encoded)),
        "signing key": (SigningKey("service-accounts"), Found(b"600 root:root\n")),
        "stopped": (Stopped("etcd"), Found(SHOW)),
        "removed": (Removed(["etcd"]), Found(b"deb\n")),
    }


def judged(resource, output: bytes, status: int = 0) -> str:
    """ok, change or refused; anything else than these is a defect."""
    try:
        return "change" if compare(resource, Found(output, status), CONTEXT) else "ok"
    except NotYet:
        return "refused"
    except RunbookError as error:
        assert "Traceback" not in str(error) and len(str(error)) < 2000
        return "refused"


def test_what_was_recorded_is_ok(cases):
    assert {name: judged(resource, found.stdout) for name, (resource, found) in cases.items()} == dict.fromkeys(cases, "ok")


# What is left of these when the end is missing says as much as the whole: the name of the package manager, a lone mode.
SAID_EARLY = {
    "removed": 3,
    "packages": len(PACKAGES) - 3,
    "stopped": SHOW.index(b"disabled"),
    "service": SERVICE.index(b"\nNeedDaemon"),
    "upload": 64,
}


def test_what_is_cut_short_is_never_ok(cases):
    for name, (resource, found) in cases.items():
        whole = found.stdout.rstrip()
        step = max(1, len(whole) // 150)
        for end in range(0, len(whole), step):
            verdict = judged(resource, whole[:end])
            assert verdict != "ok" or end >= SAID_EARLY.get(name, len(whole)), (name, whole[:end])


def test_a_probe_that_fails_does_not_pass_for_one_that_found_nothing(cases):
    """Else a process that the kernel killed would cost a site its authority, or a host the lines of others."""
    for name in ("file", "secret", "folder", "block", "htpasswd", "generated", "authority", "signing key"):
        resource, found = cases[name]
        assert judged(resource, b"", ABSENT) == "change", name
        for status in (1, 2, 126, 127, 137, 255):
            for output in (b"", found.stdout[: len(found.stdout) // 2], found.stdout):
                assert judged(resource, output, status) == "refused", (name, status)


@pytest.mark.parametrize("name", ["authority", "htpasswd"])
def test_no_message_and_no_summary_carries_what_a_secret_probe_printed(cases, name):
    resource, found = cases[name]
    lines = found.stdout.splitlines()
    for spoilt in (
        b"\n".join(reversed(lines)),
        found.stdout.replace(b"\n", b"\0"),
        b"\n".join(lines[:-1]),
        lines[1],
        b"x" + found.stdout,
        found.stdout + b"\n",
    ):
        try:
            change = compare(resource, Found(spoilt), CONTEXT)
            said = f"{change.summary} {change.detail} {change.command}" if change else ""
        except RunbookError as error:
            said = str(error)
        assert not any(line.decode()[-30:] in said for line in lines if len(line) > 20), said[:300]


def test_an_authority_that_is_damaged_is_not_made_anew(cases):
    authority, found = cases["authority"]
    cert, key, guard = found.stdout.splitlines()
    other = base64.b64encode(pki.new_ca("another").key)
    for damaged in ((cert, other, guard), (cert, b"", guard), (b"AAAA", key, guard), (cert, key[:40], guard)):
        with pytest.raises(StepFailed, match="never replaced"):
            authority.change(Found(b"\n".join(damaged)), CONTEXT)


def test_lines_of_others_survive_what_is_not_base64_and_keep_their_bytes(tmp_path):
    hosts = tmp_path / "hosts with 'quotes' and\nlines"
    hosts.write_bytes(b"127.0.0.1 localhost # caf\xe9\n")
    hosts.chmod(0o640)
    block = Block(str(hosts), "site", ("10.0.0.1 one",))
    assert judged(block, b"Last login: yesterday\n" + on_this_machine(block).stdout) == "refused"
    subprocess.run(["sh", "-e"], input=block.change(on_this_machine(block), CONTEXT).script.encode(), check=True)
    assert hosts.read_bytes() == b"127.0.0.1 localhost # caf\xe9\n# BEGIN site\n10.0.0.1 one\n# END site\n"
    assert hosts.stat().st_mode & 0o777 == 0o640 and list(tmp_path.iterdir()) == [hosts]
    assert block.change(on_this_machine(block), CONTEXT) is None


def test_a_block_is_written_through_a_link_and_keeps_it(tmp_path):
    (tmp_path / "real").write_text("a\n")
    (tmp_path / "hosts").symlink_to(tmp_path / "real")
    block = Block(str(tmp_path / "hosts"), "site", ("10.0.0.1 one",))
    subprocess.run(["sh", "-e"], input=block.change(on_this_machine(block), CONTEXT).script.encode(), check=True)
    assert (tmp_path / "hosts").is_symlink() and (tmp_path / "real").read_text().startswith("a\n# BEGIN site\n")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hosts", "real"]


def test_what_is_no_file_is_said_and_left_alone(tmp_path):
    file = File(str(tmp_path), "content = 1\n")
    with pytest.raises(StepFailed, match="a folder is in the place of a file"):
        compare(file, on_this_machine(file), CONTEXT)


def test_an_empty_secret_is_made_again_and_a_whole_one_never(tmp_path, monkeypatch):
    monkeypatch.setattr("airavata_runbook.resources.secret.SECRETS", str(tmp_path))
    (tmp_path / "password").touch()  # as a host may keep it that lost its power
    secret = Generated("password")
    make = secret.change(on_this_machine(secret), CONTEXT).script.encode()
    subprocess.run(["sh", "-e"], input=make, check=True)
    value = (tmp_path / "password").read_text()
    assert len(value) == 33 and secret.change(on_this_machine(secret), CONTEXT) is None
    (tmp_path / "password").unlink()
    make = secret.change(on_this_machine(secret), CONTEXT).script.encode()
    (tmp_path / "password").write_text("somebody else's\n")
    subprocess.run(["sh", "-e"], input=make, check=True)
    assert (tmp_path / "password").read_text() == "somebody else's\n"


def test_hosts_speak_one_language_whatever_theirs_is():
    with host_with(environment={"LANG": "de_DE.UTF-8", "LC_ALL": "de_DE.UTF-8", "PATH": "/usr/bin:/bin"}) as (host, _):
        assert host.run_batch({"0": "echo $LC_ALL"})["0"].text == "C\n"


def test_a_service_whose_start_cannot_be_read_is_not_called_up_to_date(cases):
    service, found = cases["service"]
    for time in (b"Mo 2026-11-23 09:00:00 CET", b"@1795424000", b"Mon 9999-99-99 09:00:00.500000 UTC"):
        assert judged(service, found.stdout.replace(b"Mon 2026-11-23 09:00:00.500000 UTC", time)) == "refused"
    for never in (b"", b"n/a"):
        assert judged(service, found.stdout.replace(b"Mon 2026-11-23 09:00:00.500000 UTC", never)) == "ok"


SPOILT = {
    "nothing": lambda text: b"",
    "blank lines": lambda text: b"\n\n\n",
    "garbage": lambda text: random.Random(1).randbytes(4000),
    "not UTF-8": lambda text: b"\xff\xfe" + text.replace(b"e", b"\xe9"),
    "zeros": lambda text: text.replace(b"\n", b"\0"),
    "carriage returns": lambda text: text.replace(b"\n", b"\r\n"),
    "a banner before it": lambda text: b"Welcome to host one!\n*** Authorised use only = yes ***\n" + text,
    "a line of a megabyte": lambda text: b"x" * 1_000_000 + b"\n" + text,
    "escape sequences": lambda text: b"\x1b[2J\x1b]0;owned\x07" + text,
    "another language": lambda text: "stat: Aufruf nicht möglich: Datei oder Verzeichnis nicht gefunden\n".encode(),
    "words doubled": lambda text: text + text,
    "lines reversed": lambda text: b"\n".join(reversed(text.split(b"\n"))),
    "huge numbers": lambda text: text.replace(b"1", b"9" * 400),
    "negative numbers": lambda text: text.replace(b"6", b"-6"),
    "only blanks": lambda text: b"        ",
}


@pytest.mark.parametrize("kind", SPOILT)
def test_what_is_spoilt_is_read_or_refused(cases, kind):
    for name, (resource, found) in cases.items():
        spoilt = SPOILT[kind](found.stdout)
        verdict = judged(resource, spoilt)
        assert verdict in ("ok", "change", "refused"), name
        if kind in ("nothing", "garbage", "another language", "only blanks") and name != "block":
            assert verdict != "ok", (name, kind)


@pytest.mark.parametrize("kind", SPOILT)
def test_a_fact_that_cannot_be_read_is_named(kind):
    recorded = texts("lab-debian-12")
    for fact in HOST_FACTS:
        text = SPOILT[kind](recorded[fact.name].encode()).decode(errors="replace")
        try:
            snapshot("lab-debian-12", **{fact.name: text})[type(fact)]
        except StepFailed as error:
            assert error.where == f"fact {fact.name}" and len(error.found) <= 200


def test_answers_are_told_apart_whatever_they_print():
    nonce = "0123456789abcdef"
    imitation = f"{nonce[::-1]} 1\nforged\n{nonce[::-1]} 1 0 .".encode()  # by somebody who has seen another call's
    real = "".join(f"{nonce} {name}\nreal\n{nonce} {name} 0 .\n" for name in "01").encode()
    assert split(real, nonce, {"0": "", "1": ""})["1"].stdout == b"real"
    for cut in range(len(real)):
        try:
            assert {answer.stdout for answer in split(real[:cut], nonce, {"0": "", "1": ""}).values()} == {b"real"}
        except StepFailed as error:
            assert "truncated" in error.message
    done = subprocess.run(
        ["sh"], input=batch({"0": f"echo '{imitation.decode()}'; echo", "1": "echo mine"}, nonce).encode(), capture_output=True
    )
    answers = split(done.stdout, nonce, {"0": "", "1": ""})
    assert answers["1"].stdout == b"mine\n" and answers["0"].stdout == imitation + b"\n\n"


NO_FACTS = {
    "Selinux": ("", "perhaps", "Welcome!\n1"),
    "Firewalld": ("Welcome to one!\nactive", "active\nactive"),
    "Resolved": ("\x1b[2Jactive",),
    "Hostname": ("Welcome to host one\nid\n",),
    "Addresses": ("2: eth0 inet 10.0.0.999/24\n", "2: eth0 inet 10.0.0.1/99\n", "2: eth0 inet <b>x</b>\n"),
    "Clock": ("nan", "inf", "-inf", "1e999", "12:00"),
    "Memory": ("MemTotal: nan kB\n",),
    "Cpus": ("2\n2\n", "٣3x"),
}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts_ in NO_FACTS.items() for text in texts_])
def test_what_is_no_fact_does_not_pass_for_an_ordinary_one(name, text):
    host = snapshot("lab-debian-12", **{name: text})
    with pytest.raises(StepFailed) as refused:
        host[getattr(facts, name)]
    assert refused.value.where == f"fact {name}"


@pytest.mark.parametrize(
    "text",
    [
        "ss fails\n",
        "bash: ss: command not found\n",
        "tcp LISTEN 0 128 *:6443",
        "tcp LISTEN 0 128 *:²  *:*\n",
        "tcp LISTEN 0 128 *:-1 *:*\n",
        "tcp LISTEN 0 128 *:99999999999 *:*\n",
        "x" * 1_000_000,
        "\x1b[2J\n",
    ],
)
def test_what_listens_is_read_or_refused(text):
    host = HostSnapshot.parse(NODE, [Listening(), KernelFeatures()], {"Listening": text, "KernelFeatures": "overlay"})
    try:
        assert host[Listening] == {("tcp", 6443): {""}}
    except StepFailed as error:
        assert error.where == "fact Listening" and len(error.found) <= 200 and "iproute2" in error.remedy
    assert host[KernelFeatures] == {"overlay"}


@pytest.mark.parametrize("ending", ["", ' users:(("', ' users:((""))', " users:((", ' "'])
def test_a_program_with_a_strange_name_is_only_a_name(ending):
    host = HostSnapshot.parse(NODE, [Listening()], {"Listening": f"tcp LISTEN 0 128 *:6443 *:*{ending}\n"})
    assert list(host[Listening]) == [("tcp", 6443)]


@pytest.mark.parametrize("error", [WebSocketConnectionClosedException("it was lost"), BrokenPipeError(32)])
def test_a_network_check_whose_connection_is_cut_is_explained(monkeypatch, error):
    def cut(*_, **__):
        raise error

    session = Session(Site.load("lab"))
    core = SimpleNamespace(connect_get_namespaced_pod_exec=None)
    monkeypatch.setattr(session, "kube", lambda: SimpleNamespace(for_streams=lambda: core))
    monkeypatch.setattr(probes, "stream", lambda *_, **__: SimpleNamespace(run_forever=cut))
    with pytest.raises(StepFailed, match="the connection to a pod was lost") as lost:
        probes.probe_from_pod(session, "netcheck-1", ["http://10.244.1.2:8080/"])
    assert lost.value.retryable and "check that master is up" in lost.value.remedy


LEASE = (b'{"PublicIP":"10.0.0.1","BackendType":"vxlan"}', b"/flannel/subnets/10.244.5.0-24")


def test_leases_are_read_or_refused_by_their_key():
    assert etcd.parse_leases([LEASE], "/flannel/subnets/") == {"10.0.0.1": etcd.Lease("10.244.5.0/24", "")}
    value, key = LEASE
    bad = [value[:cut] for cut in range(len(value))] + [
        b"null",
        b"[]",
        b"7",
        b'{"PublicIP": null}',
        b"\xff",
        b"[" * 500,
        b'{"PublicIP":"<script>"}',
        b'{"PublicIP":{}}',
        b"x" * 1_000_000,
    ]
    for entry in [*((one, key) for one in bad), (value, b"\xff\x1b[2J"), (value, b"/flannel/subnets/10.244.5.0-99")]:
        with pytest.raises(StepFailed) as refused:
            etcd.parse_leases([LEASE, entry], "/flannel/subnets/")
        assert "invalid lease in etcd" in str(refused.value) and len(str(refused.value)) < 1000


def test_what_the_network_check_says_is_read_or_refused():
    whole = '[{"target": "a", "ok": true, "seconds": 1, "answer": {"json": {"node": "10.0.0.1"}}}]'
    assert probes.answering_node(probes.parse_results(whole, "pod", 1)[0]) == "10.0.0.1"
    bad = [whole[:cut] for cut in range(len(whole))] + [
        "",
        "null",
        "{}",
        "7",
        '[{"ok": true}]',
        '["ok"]',
        "[null]",
        "[[]]",
        '[{"target": "a", "ok": true, "answer": []}]',
        "[" * 100_000,
        '[{"target": "a", "ok": false, "error": {}}]',
        "Welcome!\n" + whole,
    ]
    for text in bad:
        with pytest.raises(StepFailed, match="unexpected output of the network check"):
            probes.parse_results(text, "pod", 1)
    with pytest.raises(StepFailed):
        probes.parse_results(whole, "pod", 2)
    for answer in ('{"status": 200, "text": "<html>"}', '{"json": null}', '{"json": []}', "{}"):
        said = probes.parse_results(f'[{{"target": "a", "ok": true, "answer": {answer}}}]', "pod", 1)[0]
        assert isinstance(probes.answering_node(said), str)


def test_a_subnet_that_is_none_is_refused_with_its_host():
    with pytest.raises(StepFailed, match="unexpected address of a host's pod bridge") as refused:
        etcd_flannel._network("10.244.5.0/24;reboot", "one")
    assert refused.value.where == "host one"


@pytest.mark.parametrize("answer", [StepFailed("gone"), "", "cat: No such file\n", "FILE a.crt\ngarbage\n"])
def test_certificates_that_are_not_shown_are_not_called_valid(monkeypatch, answer):
    site = Site.load({"name": "hostile", "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}]})
    monkeypatch.setattr(certificates, "run_parallel", lambda *_: {"one": answer})
    with pytest.raises(RunbookError):
        verify.certificates.look(Session(site))


def test_a_secret_that_is_no_text_is_refused_and_masks_nothing_by_mistake():
    site = Site.load({"name": "hostile", "nodes": [{"name": "one", "address": "192.0.2.11", "role": "master"}]})
    one = vault.Vault(site)
    one._read = {f"{wellknown.SECRETS}/password": b"\xff\xfe", f"{wellknown.PKI}/ca.key": b"\xff", f"{wellknown.PKI}/b.key": b""}
    with pytest.raises(StepFailed, match="not UTF-8"):
        one.secret("generated:password")
    assert one.mask("as it was") == "as it was"


def test_what_a_host_says_does_no_harm_where_it_is_shown():
    evil = "<script>alert(1)</script>\x1b[2J\x1b]0;owned\x07\r\x9b31m &amp; \u202e"
    item = Item(label=evil, status="failed", summary=evil, detail=evil, command=evil)
    report = Report(
        chapter="c",
        step="s",
        title="t",
        plan=False,
        hosts={"one": [item]},
        failures=[Failure(host="one", message=evil)],
        rows=[["head"], [evil]],
    )
    error = ChapterError(cell=1, source=evil, message=evil)
    chapter = ChapterReport(chapter="02", notebook="n", seconds=1.0, failed=1, error=error, steps=[report])
    page = report_page.render(
        RunReport(site="s", run="r", started="s", outcome="failed", asked=[evil], set={evil: evil}, failed=1, chapters=[chapter])
    )
    finding = preflight.format_findings([Finding("memory", "one", evil, evil, evil)])
    for shown in (report_html(report), page, str(report), finding, str(StepFailed(evil, found=evil, where=evil))):
        assert not set("\x1b\x07\r\x9b\u202e") & set(shown)
    assert "<script" not in report_html(report) and "<script" not in page and "&lt;script" in page
