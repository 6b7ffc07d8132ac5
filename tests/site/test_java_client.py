"""Airavata's official Java client of 0.16, a second client, calls the API server of a running site."""

from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.cluster.session import session_of
from airavata_runbook.wellknown import SERVICES_CA
from tests.java_client import EXPECTED, answers


def test_the_java_client_of_0_16_is_answered_through_the_node_port(site, hosts, tmp_path):
    session, master = session_of(site), hosts[site.master.name]
    authority = tmp_path / "ca.crt"
    authority.write_bytes(session.vault.authority(SERVICES_CA).cert)
    token = session.vault.secret(stack_of(site).secrets["stand-in"]["api-token"])
    address = str(site.master.address)
    found = answers(master.forward(site.airavata.api_node_port, address), address, authority, token)
    assert found == {"getAPIVersion": "0.18.0", **EXPECTED}
