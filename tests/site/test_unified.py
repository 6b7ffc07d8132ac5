"""The stack unified on two lab hosts, from bare ones: a STAND-IN of the server, with the real MariaDB and the real Keycloak."""

import base64
import hashlib
import html
import http.cookiejar
import json
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import replace
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import yaml

from airavata_runbook.chapters.verify_unified import Server
from airavata_runbook.cluster import releases
from airavata_runbook.cluster.session import session_of
from airavata_runbook.mirror.recipes import UNIFIED_STAND_IN
from airavata_runbook.site import Site
from airavata_runbook.wellknown import DATABASE_BACKUP, SERVICES_CA
from tests.full_picture import kubectl, over_ssh
from tests.labs import PROJECT, lab_hosts
from tests.site.conftest import actions, in_database, report, runbook
from tests.site.test_upgrade import build

SEED = "INSERT INTO stand_in_gateway VALUES ('seeded', 'seeded', '{\"gatewayId\": \"seeded\"}');\n"


@pytest.fixture(scope="module")
def site_file(tmp_path_factory):
    """The path of the site's file; its hosts are bare."""
    folder = tmp_path_factory.mktemp("unified")
    text = (PROJECT / "parameters/lab-unified.yaml").read_text()
    for old, new in (("name: lab-unified\n", "name: lab-unified-run\n"), ("lab2", "lab15"), ("10.96.0.", "10.85.0.")):
        assert old in text
        text = text.replace(old, new)
    (folder / "seed.sql").write_text(SEED)
    text = text.replace("      realm:", f"      seed_sql: {folder}/seed.sql\n      realm:")
    file = folder / "lab-unified.yaml"
    file.write_text(text)
    with lab_hosts(file, folder):
        yield str(file)
        runbook("kubeconfig", str(file), "--stop")


@pytest.fixture(scope="module")
def site(site_file):
    return Site.load(site_file)


@pytest.fixture(scope="module")
def first(site_file, site):
    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    return report(site)


def test_every_call_to_the_server_is_answered(first, site):
    rows = [
        row
        for chapter in first["chapters"]
        for step in chapter["steps"]
        if chapter["chapter"] == "06-verify" and step["step"] == "servers"
        for row in step["rows"][1:]
    ]
    calls = {call: answer for component, call, answer, note in rows if component == "airavata-server" and note == "STAND-IN"}
    assert calls["GET gateways without a token"] == "401" and calls["token from Keycloak, from outside"] == "issued", rows
    assert calls["its administration and other realms, from outside"] == "HTTP 404", rows
    assert calls["GET credential"] == "runbook-verify" and "from Keycloak" in calls["GET users of the realm"], rows


def test_a_second_run_changes_nothing(first, site_file, site):
    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert actions(report(site), "changed") == {}


def test_the_sites_first_rows_are_loaded_after_the_tables_and_once(first, site):
    assert in_database(site, "SELECT COUNT(*) FROM airavata.stand_in_gateway WHERE id = 'seeded'") == "1"
    assert in_database(site, "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'airavata_load'") == "0"


def test_what_verification_made_is_gone(first, site):
    for table in ("project", "credential"):
        assert in_database(site, f"SELECT COUNT(*) FROM airavata.stand_in_{table}") == "0"


class Outside:
    """A browser on this machine, which trusts the site's authority, follows no redirect and keeps cookies."""

    def __init__(self, site):
        trusted = ssl.create_default_context(cadata=session_of(site).vault.authority(SERVICES_CA).cert.decode())
        stays = type("Stays", (urllib.request.HTTPRedirectHandler,), {"redirect_request": lambda *_: None})
        cookies = urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar())
        self.opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=trusted), stays, cookies)

    def open(self, url, form=None, token=""):
        """(status, text, where it redirects to)"""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            answer = self.opener.open(
                urllib.request.Request(url, urlencode(form).encode() if form else None, headers), timeout=30
            )
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            return answer.status, answer.read().decode(errors="replace"), answer.headers.get("Location", "")


@pytest.fixture
def inside(first, site):
    """Keycloak as pods reach it, by its Service."""
    session, name = session_of(site), f"keycloak.{site.airavata.namespace}.svc.{site.network.domain}"
    service = session.kube().core.read_namespaced_service("keycloak", site.airavata.namespace).spec.cluster_ip
    return Server(session.master.forward(8443, service), name, session.vault.authority(SERVICES_CA).cert)


@pytest.fixture
def ann(inside, site):
    """The password of a user of the gateway, made by the administrator."""
    password = "of-ann-in-a-lab"
    login = {"grant_type": "password", "client_id": "admin-cli", "username": "admin"}
    login["password"] = session_of(site).vault.secret("generated:keycloak-admin")
    token = inside.call("POST", "/realms/master/protocol/openid-connect/token", form=login).content["access_token"]
    user = {"username": "ann", "enabled": True, "email": "ann@example.org", "firstName": "Ann", "lastName": "Lab"}
    user["credentials"] = [{"type": "password", "value": password, "temporary": False}]
    made = replace(inside, token=token).call("POST", f"/admin/realms/{site.airavata.gateway}/users", user)
    assert made.status == 201, made
    return password


def test_a_person_logs_in_from_outside_and_the_server_takes_the_token(ann, site):
    """By the login page with its files, as a portal does it (authorization code with PKCE)."""
    outside, realm = Outside(site), f"{site.keycloak_url}/realms/{site.airavata.gateway}"
    there, verifier = f"{realm}/account/", "a-verifier-of-a-test-of-at-least-43-characters"
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    client = {"client_id": "account-console", "redirect_uri": there}
    asked = client | {"response_type": "code", "scope": "openid", "code_challenge": challenge, "code_challenge_method": "S256"}
    status, page, _ = outside.open(f"{realm}/protocol/openid-connect/auth?{urlencode(asked)}")
    files = re.findall(r'(?:href|src)="(/resources/[^"]+)"', page)
    assert status == 200 and files and {outside.open(site.keycloak_url + file)[0] for file in files} == {200}
    form = html.unescape(re.search(r'action="([^"]+)"', page)[1])
    status, _, back = outside.open(form, {"username": "ann", "password": ann})
    assert status == 302 and back.startswith(there), back
    given = client | {
        "grant_type": "authorization_code",
        "code": parse_qs(urlsplit(back).query)["code"][0],
        "code_verifier": verifier,
    }
    token = json.loads(outside.open(f"{realm}/protocol/openid-connect/token", given)[1])["access_token"]
    for node in site.nodes:
        server = f"https://{node.address}:{site.airavata.api_node_port}/api/v1/gateways"
        assert outside.open(server)[0] == 401
        status, text, _ = outside.open(server, token=token)
        assert status == 200 and "seeded" in text, text


def test_administrators_log_in_within_the_cluster_only(inside, site):
    outside, own = Outside(site), f"https://{inside.name}:8443"
    for path in (
        "/admin/",
        "/admin/master/console/",
        "/realms/master/protocol/openid-connect/auth",
        "/realms/default/..;/master",
    ):
        assert outside.open(site.keycloak_url + path)[0] == 404, path
    listed = inside.call("GET", "/realms/master/.well-known/openid-configuration").content
    assert listed["authorization_endpoint"].startswith(own), "where the console sends them"
    assert inside.call("GET", "/admin/master/console/").status == 200


def test_keycloak_and_the_database_are_within_the_cluster_only(first, site):
    services = session_of(site).kube().core.list_namespaced_service(site.airavata.namespace).items
    assert {one.metadata.name: one.spec.type for one in services} == {
        "mariadb": "ClusterIP",
        "keycloak": "ClusterIP",
        "keycloak-front": "NodePort",
        "airavata-server": "NodePort",
    }


def test_no_pod_has_a_password_in_its_environment(first, site):
    session = session_of(site)
    listed = session.master.run("cd /etc/airavata-runbook/secrets && grep -rh . . --include='[a-z]*'")
    values = [line for line in listed.text.splitlines() if 30 < len(line) < 60]
    assert len(values) > 5
    pods = session.kube().core.list_namespaced_pod(site.airavata.namespace).items
    text = json.dumps(session.kube().api.sanitize_for_serialization(pods))
    assert not [value[:3] for value in values if value in text]


def test_the_stand_in_says_so_on_each_of_its_objects(first, site):
    folder = PROJECT / "outputs" / site.name / "latest/manifests/airavata-server"
    objects = [one for path in folder.glob("*.yaml") for one in yaml.safe_load_all(path.read_text()) if one]
    assert objects and all("STAND-IN" in str(one["metadata"]["annotations"]) for one in objects)


@pytest.fixture
def broken(tmp_path):
    """The archive of another build of the STAND-IN, which lists no users."""
    text, works = (UNIFIED_STAND_IN / "api.py").read_text(), "        if not token:\n"
    assert text.count(works) == 1
    fault = '        if path.endswith("/iam/users"):\n            raise Answer(500, "a build with a fault")\n'
    return build(tmp_path, "broken", "/opt/unified-stand-in/api.py", text.replace(works, fault + works), "unified-stand-in")


def server_image(site):
    """The reference of the one server's image, while its one pod is ready."""
    path = "{.status.readyReplicas} {.spec.template.spec.containers[0].image}"
    ready, image = kubectl(site, f"-n {site.airavata.namespace} get deployment airavata-server -o jsonpath='{path}'").split()
    assert ready == "1"
    return image


def test_an_upgrade_that_fails_is_rolled_back_by_the_command_that_it_names(first, site_file, site, broken):
    """The databases are kept before; of one replica it is said that it ends first; rows and the printed pin hold."""
    before, using = server_image(site), ("--set", f"airavata.images.unified-stand-in.archive={broken}")
    done = runbook("run", site_file, "--from", "04", *using)
    assert done.returncode == 1 and "a build with a fault" in done.stderr, done.stdout + done.stderr
    assert f"airavata-runbook rollback {site.name}" in done.stderr and server_image(site) != before
    steps = [step for chapter in report(site)["chapters"] for step in chapter["steps"] if step["step"] == "servers"]
    (backup,) = [item for item in steps[0]["hosts"]["master"] if item["label"] == DATABASE_BACKUP]
    assert backup["summary"].startswith("back up before airavata-server") and "ends before the new one starts" in backup["detail"]
    done = runbook("rollback", site_file, "--yes", *using)
    assert done.returncode == 0 and "and verified" in done.stdout, done.stdout + done.stderr
    assert server_image(site) == before and f"airavata.images.unified-stand-in: {{pull: {before}}}" in done.stdout
    assert in_database(site, "SELECT COUNT(*) FROM airavata.stand_in_gateway WHERE id = 'seeded'") == "1"
    kept = over_ssh(site, site.storage_node.name, f"cd {releases.folder(site)}/2* && zcat {releases.DUMP} && cat release.json")
    assert "'seeded'" in kept and "realm" in kept.lower() and before in kept, "Keycloak's data, too"
    done = runbook("run", site_file, "--from", "04", "--to", "05", "--set", f"airavata.images.unified-stand-in.pull={before}")
    changed = actions(report(site), "changed")
    assert done.returncode == 0 and {key[:2] for key in changed} <= {("04-registry", "images")}, (changed, done.stderr)
