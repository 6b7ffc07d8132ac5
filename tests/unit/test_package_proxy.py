"""The proxy of a site: the package managers of its hosts, the real ones, fetch through it, and nothing else does."""

import base64
import subprocess
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import pytest

from airavata_runbook import Site
from airavata_runbook.checks.facts import PackageIndexError, asks_for_index
from airavata_runbook.configs.node import package_proxy
from airavata_runbook.distributions import DEB, RPM
from airavata_runbook.engine.resource import Context, Found
from airavata_runbook.resources import Packages
from tests.unit.apt_host import AptHost
from tests.unit.rpm_host import RpmHost

FAR = "http://packages.invalid"  # only the proxy knows it
LOGIN = "some@body:p@ss:word's"


def site(port: int = 3128, **fields: object) -> Site:
    return Site.load("lab", {"proxy": {"http": f"http://127.0.0.1:{port}", **fields}})


class FarHost(ThreadingHTTPServer):
    """An HTTP proxy that wants LOGIN, and behind it the host FAR with the files of a folder. asked: the URLs."""

    daemon_threads = True

    def __init__(self, folder: Path):
        self.folder, self.asked, self.refused = folder, [], 0
        super().__init__(("127.0.0.1", 0), _Request)


class _Request(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, request, address, server):
        super().__init__(request, address, server, directory=str(server.folder))

    def log_message(self, *_):
        pass

    def do_GET(self):
        if self.headers.get("Proxy-Authorization") != "Basic " + base64.b64encode(LOGIN.encode()).decode():
            self.server.refused += 1
            self.send_response(407)
            self.send_header("Proxy-Authenticate", 'Basic realm="proxy"')
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.server.asked.append(self.path)
        self.path = urlsplit(self.path).path
        return super().do_GET() if self.server.asked[-1].startswith(FAR) else self.send_error(502)


@pytest.fixture
def proxy(tmp_path):
    (tmp_path / "far").mkdir()
    with FarHost(tmp_path / "far") as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


def install(host: AptHost | RpmHost, packaging, environment: str) -> None:
    packages = Packages({"tool": "1.0-1"}, "ours", packaging, environment)
    found = Found(subprocess.run(["sh"], input=packages.probe().encode(), capture_output=True, check=True).stdout)
    change = packages.change(found, Context(SimpleNamespace(name="one"), None))
    done = subprocess.run(["sh"], input=change.script, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def environment(tmp_path: Path, port: int) -> str:
    path = tmp_path / "package-proxy.sh"
    path.write_text(package_proxy(site(port, auth="env:PROXY"), LOGIN))
    return str(path)


@pytest.fixture(autouse=True)
def direct(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_apt_fetches_through_the_proxy_with_its_login(tmp_path, monkeypatch, proxy):
    host = AptHost(tmp_path / "host", monkeypatch)
    proxy.folder = host.root / "ours"
    (host.root / "apt.conf").write_text((host.root / "apt.conf").read_text().replace('Acquire::http::Proxy "DIRECT";\n', ""))
    host.publish("ours", "tool")
    host.source("ours", f"{FAR}/")
    install(host, DEB, environment(tmp_path, proxy.server_port))
    assert host.state() == {"tool": "ii 1.0-1"} and f"{FAR}/./tool.deb" in proxy.asked


def test_dnf_fetches_through_the_proxy_with_its_login(tmp_path, monkeypatch, proxy):
    host = RpmHost(tmp_path / "host", monkeypatch)
    proxy.folder = host.root / "ours"
    host.publish("ours", "tool")
    entry = host.root / "etc/yum.repos.d/ours.repo"
    entry.write_text(entry.read_text().replace(f"file://{host.root}/ours", FAR))
    install(host, RPM, environment(tmp_path, proxy.server_port))
    assert host.state() == ["tool 1.0-1"] and any(url.endswith(".rpm") for url in proxy.asked)


def test_the_proxy_is_not_for_the_sites_own_networks_hosts_and_names():
    text = package_proxy(site(no=[".example.org", "10.0.0.0/8"]), "")
    (line,) = [line for line in text.splitlines() if "no_proxy" in line]
    own = {"10.98.0.11", "10.98.0.12", "worker", "registry.lab", "10.244.0.0/16", "10.254.0.0/16", ".svc", ".cluster.local"}
    assert own | {"127.0.0.1", "localhost", ".example.org", "10.0.0.0/8"} <= set(line.partition("=")[2].strip("'\"").split(","))
    assert "https_proxy" not in text and "\nexport http_proxy=http://127.0.0.1:3128\n" in text.replace('"', "").replace("'", "")


def test_the_login_is_in_the_file_only_and_not_in_commands():
    packages = Packages({"tool": "1.0-1"}, "ours", DEB, "/etc/airavata-runbook/package-proxy.sh")
    change = packages.change(Found(b"deb\n"), Context(SimpleNamespace(name="one"), None))
    assert change.shown.startswith(". /etc/airavata-runbook/package-proxy.sh\n") and "3128" not in change.script


def test_a_host_looks_for_the_index_through_the_proxy_but_for_one_that_wants_a_login():
    far = {"repository": {"baseurl": "https://example.org/packages", "gpgkey": "/etc/key"}}
    free, closed = ({"proxy": {"https": "http://proxy:3128"} | auth} for auth in ({}, {"auth": "env:PROXY"}))
    assert asks_for_index(Site.load("lab", far | free)) and not asks_for_index(Site.load("lab", far | closed))
    assert "https_proxy=" in PackageIndexError(Site.load("lab", far | free)).command
    assert "https_proxy=" not in PackageIndexError(Site.load("lab", far)).command
