"""A running site seen from Java: the official client of 0.16, and the file of settings as Airavata's own servers use it."""

import base64

from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.session import session_of
from airavata_runbook.wellknown import SERVICES_CA
from tests.java_client import DRIVER, EXPECTED, answers, java


def test_the_java_client_of_0_16_is_answered_through_the_node_port(site, hosts, tmp_path):
    session, master = session_of(site), hosts[site.master.name]
    authority = tmp_path / "ca.crt"
    authority.write_bytes(session.vault.authority(SERVICES_CA).cert)
    token = session.vault.secret(stack_of(site).secrets["stand-in"]["api-token"])
    address = str(site.master.address)
    found = answers(master.forward(site.airavata.api_node_port, address), address, authority, token)
    assert found == {"getAPIVersion": "0.18.0", **EXPECTED}


def test_java_reaches_each_database_with_tls_as_the_file_of_settings_says(site, hosts, tmp_path):
    core, namespace = session_of(site).kube().core, site.airavata.namespace
    settings = core.read_namespaced_secret("airavata-server", namespace).data
    for name, content in settings.items():
        (tmp_path / name).write_bytes(base64.b64decode(content))
    (tmp_path / "hosts").write_text("127.0.0.1 mariadb\n")  # by which the certificate is verified
    port = hosts[site.master.name].forward(3306, core.read_namespaced_service("mariadb", namespace).spec.cluster_ip)
    files = tmp_path / "airavata-server.properties", port, tmp_path / "ca.crt"
    found = java("Databases.java", DRIVER, *files, options=(f"-Djdk.net.hosts.file={tmp_path / 'hosts'}",))
    rows = [line.split("\t") for line in found.splitlines()]
    assert len(rows) == 8 and all(cipher for _, _, cipher in rows)
    assert {key.removesuffix(".jdbc.url"): database for key, database, _ in rows} == {
        "appcatalog": "app_catalog",
        "credential.store": "credential_store",
        "profile.service": "profile_service",
        "registry": "experiment_catalog",
        "replicacatalog": "replica_catalog",
        "sharingcatalog": "sharing_registry",
        "wfcatalog": "workflow_catalog",
        "workflowcatalog": "workflow_catalog",
    }
