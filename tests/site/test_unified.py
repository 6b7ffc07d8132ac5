"""The stack unified on two lab hosts, from bare ones: a STAND-IN of the server, with the real MariaDB and the real Keycloak."""

import json

import pytest
import yaml

from airavata_runbook.cluster.session import session_of
from airavata_runbook.site import Site
from tests.labs import PROJECT, lab_hosts
from tests.site.conftest import actions, in_database, report, runbook


@pytest.fixture(scope="module")
def site_file(tmp_path_factory):
    """The path of the site's file; its hosts are bare."""
    folder = tmp_path_factory.mktemp("unified")
    text = (PROJECT / "parameters/lab-unified.yaml").read_text()
    for old, new in (("name: lab-unified\n", "name: lab-unified-run\n"), ("lab2", "lab15"), ("10.96.0.", "10.85.0.")):
        assert old in text
        text = text.replace(old, new)
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
    assert calls["GET gateways without a token"] == "401" and calls["token from Keycloak"] == "issued", rows
    assert calls["GET credential"] == "runbook-verify" and "from Keycloak" in calls["GET users of the realm"], rows


def test_a_second_run_changes_nothing(first, site_file, site):
    done = runbook("run", site_file)
    assert done.returncode == 0, done.stdout + done.stderr
    assert actions(report(site), "changed") == {}


def test_what_verification_made_is_gone(first, site):
    for table in ("project", "credential"):
        assert in_database(site, f"SELECT COUNT(*) FROM airavata.stand_in_{table}") == "0"


def test_keycloak_and_the_database_are_within_the_cluster_only(first, site):
    services = session_of(site).kube().core.list_namespaced_service(site.airavata.namespace).items
    assert {one.metadata.name: one.spec.type for one in services} == {
        "mariadb": "ClusterIP",
        "keycloak": "ClusterIP",
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
