"""The stand-in as its clients see it: a process of its own, TLS on loopback, the SDK's generated clients.

Objects are kept in memory here, and there is no broker: what the stand-in says to MariaDB, RabbitMQ and ZooKeeper is seen by the
tests of a lab, not by these.
"""

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from airavata.api import Airavata
from airavata.api.credential.store import CredentialStoreService
from airavata.api.credential.store.error.ttypes import CredentialStoreException
from airavata.api.error.ttypes import AiravataSystemException, AuthorizationException, InvalidRequestException
from airavata.api.sharing import SharingRegistryService
from airavata.base.api import BaseAPI
from airavata.model.credential.store.ttypes import PasswordCredential, SSHCredential, SummaryType
from airavata.model.group.ttypes import GroupModel
from airavata.model.sharing.ttypes import (
    Domain,
    Entity,
    EntityType,
    PermissionType,
    SharingRegistryException,
    User,
    UserGroup,
)
from airavata.model.user.ttypes import Status, UserProfile
from airavata.model.workspace.ttypes import Gateway, GatewayApprovalStatus, Project
from airavata.service.profile.groupmanager.cpi import GroupManagerService
from airavata.service.profile.iam.admin.services.cpi import IamAdminServices
from airavata.service.profile.tenant.cpi import TenantProfileService
from airavata.service.profile.user.cpi import UserProfileService
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.protocol.TMultiplexedProtocol import TMultiplexedProtocol
from thrift.Thrift import TException
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportException

from airavata_runbook.cluster.airavata_api import connected, token
from airavata_runbook.pki import issue as pki
from airavata_runbook.pki.types import Pair, Subject
from airavata_runbook.serialise import properties_value
from airavata_runbook.stacks import load
from tests.unit.test_stacks import images, lab

FOLDER = Path(__file__).parents[2] / "airavata_runbook/stacks/stand_in"
TOKEN = "canary-api-token"
# The stand-in itself, with another place for objects and without a broker; to ask for the gateway `slow` takes a second,
# and for `lost` there is no database.
IN_MEMORY = """
import runpy, sys, time
sys.path.insert(0, sys.argv[1])
import common, database

class Memory:
    def __init__(self, *_): self.rows = {}
    def prepare(self): pass
    def add(self, kind, scope, name, text):
        if (kind, scope, name) in self.rows:
            raise database.Exists("exists")
        self.rows[kind, scope, name] = text
    def update(self, kind, scope, name, text): self.rows[kind, scope, name] = text
    def get(self, kind, scope, name):
        time.sleep(name == "slow")
        if name == "lost":
            raise database.NoAnswer("the database does not answer")
        return self.rows.get((kind, scope, name))
    def all(self, kind, scope):
        return {key[2]: text for key, text in sorted(self.rows.items()) if key[:2] == (kind, scope)}
    def delete(self, kind, scope, name): return self.rows.pop((kind, scope, name), None) is not None

database.Store = Memory
import silent_servers
silent_servers.hold_broker = lambda role, found, held: held.set()
silent_servers.hold_zookeeper = lambda *_: None
runpy.run_path(sys.argv[1] + "/main.py", run_name="__main__")
"""
MAIN = "import runpy, sys; sys.path.insert(0, sys.argv[1]); runpy.run_path(sys.argv[1] + '/main.py', run_name='__main__')"
# Role → the key of its port.
PORTS = {
    "api-server": "TLS.api.server.port",
    "credential-store": "credential.store.server.port",
    "gfac": "gfac.server.port",
    "orchestrator": "orchestrator.server.port",
    "profile-service": "profile.service.server.port",
    "registry-server": "regserver.server.port",
    "sharing-registry": "sharing.registry.server.port",
}
PLAIN = sorted(set(PORTS) - {"api-server"})


@dataclass
class StandIn:
    """A running stand-in. log: what it wrote so far."""

    process: subprocess.Popen
    port: int
    ca: Pair
    log: Path

    @contextmanager
    def client(self) -> Iterator[Airavata.Client]:
        with connected("127.0.0.1", self.port, self.ca.cert) as client:
            yield client

    def open(self) -> ssl.SSLSocket:
        context = ssl.create_default_context(cadata=self.ca.cert.decode())
        return context.wrap_socket(socket.create_connection(("127.0.0.1", self.port), 5), server_hostname="localhost")

    @contextmanager
    def plain(self, service, name: str = "") -> Iterator:
        """A client without TLS; name: of the service, where one port has several."""
        transport = TBufferedTransport(TSocket("127.0.0.1", self.port))
        transport.open()
        protocol = TBinaryProtocol(transport)
        try:
            yield service.Client(TMultiplexedProtocol(protocol, name) if name else protocol)
        finally:
            transport.close()


@pytest.fixture(scope="module")
def ca() -> Pair:
    return pki.new_ca("Test CA")


@pytest.fixture(scope="module")
def properties() -> str:
    return lab_properties()


def lab_properties() -> str:
    """The file as the lab has it, with passwords that tell themselves, and all its hosts here."""
    site = lab()
    text = (
        load(site, images(site))
        .settings["airavata-server"]["airavata-server.properties"]
        .text(lambda secret, key: f"canary-{secret}-{key}")
    )
    text = re.sub(r"(?m)^(\S+\.host)=.*$", r"\1=localhost", text)
    return re.sub(r"(//|@|=)(mariadb|rabbitmq|zookeeper):", r"\1localhost:", text)


@contextmanager
def started(
    ca: Pair, folder: Path, role: str, properties: str = "", program: str = IN_MEMORY, **settings: str
) -> Iterator[StandIn]:
    """The stand-in in a role with a certificate of `ca`, once it accepts connections; killed at the end if it still runs."""
    with launched(ca, folder, role, properties, program, **settings) as one:
        until(lambda: answers(one.port) or one.process.poll() is not None)
        assert one.process.poll() is None, one.log.read_text()
        yield one


@contextmanager
def launched(ca: Pair, folder: Path, role: str, properties: str, program: str, **settings: str) -> Iterator[StandIn]:
    folder.mkdir()
    pair = pki.issue(ca, Subject("stand-in", dns=("localhost",), ips=("127.0.0.1",), usages=("server",)))
    for name, text in (("tls.crt", pair.cert), ("tls.key", pair.key), ("ca.crt", ca.cert), ("token", TOKEN.encode())):
        (folder / name).write_bytes(text)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "airavata-server.properties").write_text(f"{properties}\n{PORTS.get(role, 'unused')}={port}\n")
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(FOLDER)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                "STAND_IN_ROLE": role,
                "STAND_IN_TLS": str(folder),
                "STAND_IN_SETTINGS": str(folder),
                "STAND_IN_TOKEN": str(folder / "token"),
                "STAND_IN_PORT": str(port),
                "STAND_IN_DEADLINE": "1",
                "PYTHONDONTWRITEBYTECODE": "1",
                **settings,
            },
        )
    try:
        yield StandIn(process, port, ca, log)
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def api(ca, properties, tmp_path_factory) -> Iterator[StandIn]:
    with started(ca, tmp_path_factory.mktemp("api") / "tls", "api-server", properties) as server:
        yield server


@pytest.fixture
def own_api(ca, properties, tmp_path) -> Iterator[StandIn]:
    """A server that a test may end."""
    with started(ca, tmp_path / "tls", "api-server", properties) as server:
        yield server


def gateway(name: str) -> Gateway:
    return Gateway(gatewayId=name, gatewayName=f"Gateway {name}", gatewayApprovalStatus=GatewayApprovalStatus.APPROVED)


def test_a_gateway_is_made_read_changed_and_deleted(api):
    with api.client() as client:
        assert client.getAPIVersion() == "0.18.0"
        assert client.addGateway(token(TOKEN), gateway("seismic")) == "seismic"
        read = client.getGateway(token(TOKEN), "seismic")
        assert (read.gatewayName, read.gatewayApprovalStatus) == ("Gateway seismic", GatewayApprovalStatus.APPROVED)
        read.gatewayName = "renamed"
        assert client.updateGateway(token(TOKEN), "seismic", read)
        assert [one.gatewayName for one in client.getAllGateways(token(TOKEN))] == ["renamed"]
        assert client.deleteGateway(token(TOKEN), "seismic")
        assert client.isGatewayExist(token(TOKEN), "seismic") is False


def test_a_project_is_made_in_a_gateway_that_is_there(api):
    with api.client() as client:
        client.addGateway(token(TOKEN), gateway("geo"))
        with pytest.raises(InvalidRequestException, match="STAND-IN: there is no gateway nowhere"):
            client.createProject(token(TOKEN), "nowhere", Project(owner="ann", gatewayId="nowhere", name="Faults"))
        name = client.createProject(token(TOKEN), "geo", Project(owner="ann", gatewayId="geo", name="Faults"))
        read = client.getProject(token(TOKEN), name)
        assert (read.name, read.owner, read.gatewayId) == ("Faults", "ann", "geo")
        read.description = "changed"
        client.updateProject(token(TOKEN), name, read)
        assert [one.description for one in client.getUserProjects(token(TOKEN), "geo", "ann", 10, 0)] == ["changed"]
        assert client.getUserProjects(token(TOKEN), "geo", "bob", 10, 0) == []
        assert client.deleteProject(token(TOKEN), name)
        with pytest.raises(InvalidRequestException, match=f"STAND-IN: there is no project {name}"):
            client.getProject(token(TOKEN), name)


def test_a_gateway_is_not_added_twice(api):
    with api.client() as client:
        client.addGateway(token(TOKEN), gateway("twice"))
        with pytest.raises(InvalidRequestException, match="STAND-IN: a gateway with the id twice exists"):
            client.addGateway(token(TOKEN), gateway("twice"))


@pytest.mark.parametrize("wrong", ["", "canary-api-toke", "canary-api-tokens", "schlüssel"])
def test_a_wrong_token_is_refused_and_changes_nothing(api, wrong):
    with api.client() as client:
        with pytest.raises(AuthorizationException, match="STAND-IN"):
            client.addGateway(token(wrong), gateway("intruder"))
        assert client.isGatewayExist(token(TOKEN), "intruder") is False


def test_what_is_not_there_says_that_it_is_a_stand_in(api):
    with api.client() as client, pytest.raises(TException, match="STAND-IN: .*not implemented"):
        client.getExperiment(token(TOKEN), "default")


def test_a_database_that_does_not_answer_is_no_fault_of_the_client(api):
    with api.client() as client, pytest.raises(AiravataSystemException, match="STAND-IN: the database does not answer"):
        client.getGateway(token(TOKEN), "lost")


def test_without_tls_there_is_no_answer(api):
    plain = TSocket("127.0.0.1", api.port)
    plain.setTimeout(3000)
    client = Airavata.Client(TBinaryProtocol(TBufferedTransport(plain)))
    plain.open()
    with pytest.raises((TTransportException, TException, EOFError)):
        client.getAPIVersion()
    plain.close()


def test_a_silent_connection_keeps_nobody_waiting(api):
    with socket.create_connection(("127.0.0.1", api.port)):
        began = time.monotonic()
        with api.client() as client:
            assert client.getAPIVersion() == "0.18.0"
        assert time.monotonic() - began < 2


def test_the_log_counts_calls_and_tells_no_secret(own_api):
    with own_api.client() as client:
        for _ in range(3):
            client.isGatewayExist(token(TOKEN), "default")
    log = own_api.log.read_text()
    assert log.count("isGatewayExist") == 3
    assert all("STAND-IN" in line and socket.gethostname() in line for line in log.splitlines())
    assert TOKEN not in log


def test_told_to_end_it_answers_what_was_asked_and_then_nobody(own_api):
    answered = []

    def ask():
        with own_api.client() as client:
            answered.append(client.isGatewayExist(token(TOKEN), "slow"))

    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: "isGatewayExist" in own_api.log.read_text())
    began = time.monotonic()
    own_api.process.send_signal(signal.SIGTERM)
    assert own_api.process.wait(10) == 0
    assert time.monotonic() - began < 5
    asking.join()
    assert answered == [False]
    assert not answers(own_api.port)


def test_told_to_end_it_leaves_connections_on_which_nothing_is_asked(own_api):
    with own_api.open() as idle:
        own_api.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert own_api.process.wait(10) == 0
        assert time.monotonic() - began < 5
        assert idle.recv(1) == b""


def test_the_portal_shows_what_the_api_says(ca, api, tmp_path):
    asked = {"API_SERVER_HOST": "localhost", "API_SERVER_PORT": str(api.port), "GATEWAY_ID": "default"}
    with started(ca, tmp_path / "portal", "portal", program=MAIN, **asked) as portal:
        context = ssl.create_default_context(cadata=ca.cert.decode())
        with urllib.request.urlopen(f"https://localhost:{portal.port}/", context=context, timeout=10) as answer:
            page = answer.read().decode()
            assert answer.status == 200
        assert all(words in page for words in ("STAND-IN", "0.18.0", "default", socket.gethostname()))
        assert TOKEN not in page + portal.log.read_text()
        portal.process.send_signal(signal.SIGTERM)
        assert portal.process.wait(10) == 0


def test_a_portal_without_its_api_says_so(ca, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    asked = {"API_SERVER_HOST": "localhost", "API_SERVER_PORT": str(port), "GATEWAY_ID": "default"}
    with started(ca, tmp_path / "portal", "portal", program=MAIN, **asked) as portal:
        context = ssl.create_default_context(cadata=ca.cert.decode())
        with pytest.raises(urllib.error.HTTPError, match="503") as refused:
            urllib.request.urlopen(f"https://localhost:{portal.port}/", context=context, timeout=10)
        assert "STAND-IN" in refused.value.read().decode()


@pytest.mark.parametrize("role", PLAIN)
def test_each_server_answers_its_version_at_its_port_and_tells_no_password(ca, properties, tmp_path, role):
    with started(ca, tmp_path / "it", role, properties) as server:
        with server.plain(BaseAPI, "UserProfileService" if role == "profile-service" else "") as client:
            assert client.getAPIVersion() == "0.18.0"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == 0
        log = server.log.read_text()
    assert "call getAPIVersion" in log and "canary" not in log
    assert all("STAND-IN" in line for line in log.splitlines())


@pytest.mark.parametrize(
    ("role", "call"),
    [
        ("orchestrator", "getOrchestratorCPIVersion"),
        ("gfac", "getGFACServiceVersion"),
        ("credential-store", "getCSServiceVersion"),
    ],
)
def test_clients_of_0_17_ask_for_the_version_by_another_name(ca, properties, tmp_path, role, call):
    with started(ca, tmp_path / "it", role, properties) as server, server.plain(BaseAPI) as client:
        client._oprot.writeMessageBegin(call, 1, 7)
        BaseAPI.getAPIVersion_args().write(client._oprot)
        client._oprot.writeMessageEnd()
        client._oprot.trans.flush()
        assert client._iprot.readMessageBegin() == (call, 2, 7)
        result = BaseAPI.getAPIVersion_result()
        result.read(client._iprot)
        assert result.success == "0.18.0"


def refusal(ca: Pair, folder: Path, role: str, properties: str) -> str:
    """The one line with which it does not start."""
    with launched(ca, folder, role, properties, IN_MEMORY) as one:
        assert one.process.wait(20) == 1
        (line,) = one.log.read_text().splitlines()
    assert line.startswith(f"STAND-IN {socket.gethostname()} {role} does not start: ") and "canary" not in line
    return line


@pytest.mark.parametrize(
    ("role", "key"),
    [
        ("api-server", "sharing.registry.server.host"),
        ("api-server", "keystore.password"),
        ("credential-store", "credential.store.keystore.alias"),
        ("gfac", "gfac.server.name"),
        ("orchestrator", "zookeeper.server.connection"),
        ("profile-service", "profile.service.jdbc.password"),
        ("registry-server", "wfcatalog.jdbc.url"),
        ("sharing-registry", "sharingcatalog.jdbc.user"),
    ],
)
@pytest.mark.parametrize("how", ["", "\\1="], ids=["missing", "empty"])
def test_it_does_not_start_without_a_key_that_its_counterpart_needs(ca, properties, tmp_path, role, key, how):
    text = re.sub(rf"(?m)^({re.escape(key)})=.*$", how, properties)
    assert f"has no value for {key}, which Airavata's own {role} needs" in refusal(ca, tmp_path / "it", role, text)


@pytest.mark.parametrize(
    ("role", "key", "value"),
    [
        ("api-server", "sharing.registry.server.host", "nobody.invalid"),
        ("gfac", "rabbitmq.broker.url", "amqps://airavata:canary@nobody.invalid:5671/messaging"),
        ("orchestrator", "zookeeper.server.connection", "localhost:2181,nobody.invalid:2181"),
        ("credential-store", "credential.store.jdbc.url", "jdbc:mariadb://nobody.invalid:3306/credential_store"),
    ],
)
def test_it_does_not_start_when_the_file_names_a_host_that_nobody_has(ca, properties, tmp_path, role, key, value):
    text = re.sub(rf"(?m)^({re.escape(key)})=.*$", rf"\1={value}", properties)
    assert f"names hosts that nobody has, asked for 1 s: nobody.invalid ({key})" in refusal(ca, tmp_path / "it", role, text)


def test_a_port_that_is_none_is_said(ca, properties, tmp_path):
    with launched(ca, tmp_path / "it", "gfac", properties, IN_MEMORY) as one:
        one.process.kill()
        one.process.wait()
    file = tmp_path / "it/airavata-server.properties"
    text = re.sub(r"(?m)^gfac\.server\.port=.*$", "", file.read_text())
    code = "import settings; settings.address(settings.read('gfac'), 'gfac')"
    file.write_text(text + "\ngfac.server.port=thrift\n")
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(FOLDER)!r}); {code}"],
        env={**os.environ, "STAND_IN_SETTINGS": str(file.parent)},
        capture_output=True,
        text=True,
    )
    assert "has 'thrift' for gfac.server.port, which is no port" in ran.stderr


def test_credentials_are_added_read_listed_and_deleted(ca, properties, tmp_path):
    with (
        started(ca, tmp_path / "it", "credential-store", properties) as server,
        server.plain(CredentialStoreService) as client,
    ):
        password = PasswordCredential(gatewayId="geo", portalUserName="ann", loginUserName="ann", password="canary-secret")
        name = client.addPasswordCredential(password)
        assert client.getPasswordCredential(name, "geo").password == "canary-secret"
        key = client.addSSHCredential(SSHCredential(gatewayId="geo", username="ann", description="made there"))
        made = client.getSSHCredential(key, "geo")
        assert made.publicKey.startswith("ssh-ed25519 ") and "OPENSSH PRIVATE KEY" in made.privateKey
        listed = client.getAllCredentialSummaryForGateway(SummaryType.SSH, "geo")
        assert [(one.token, one.publicKey, one.description) for one in listed] == [(key, made.publicKey, "made there")]
        assert client.getAllCredentialSummaryForGateway(SummaryType.SSH, "other") == []
        assert client.getCredentialSummary(name, "geo").username == "ann"
        assert client.deletePWDCredential(name, "geo")
        with pytest.raises(CredentialStoreException, match="STAND-IN: there is no credential"):
            client.getPasswordCredential(name, "geo")
        assert "canary" not in server.log.read_text()


def test_a_credential_is_encrypted_where_it_is_kept():
    code = """
import sys; sys.path.insert(0, sys.argv[1])
from airavata.model.credential.store.ttypes import PasswordCredential
from common import Refused
from credential_store import Credentials

class Memory(dict):
    def add(self, kind, scope, name, text): self[kind, scope, name] = text
    def get(self, kind, scope, name): return dict.get(self, (kind, scope, name))

kept = Memory()
name = Credentials(kept, "first").addPasswordCredential(PasswordCredential("geo", "ann", "ann", "canary-secret"))
(text,) = kept.values()
print(text)
kept["PASSWD", "other", name] = text
for password, gateway in (("first", "geo"), ("second", "geo"), ("first", "other")):
    try:
        print(Credentials(kept, password).getPasswordCredential(name, gateway).password)
    except Refused as error:
        print(error)
"""
    ran = subprocess.run([sys.executable, "-c", code, str(FOLDER)], capture_output=True, text=True)
    kept, first, second, moved = ran.stdout.splitlines()
    assert "canary" not in kept and first == "canary-secret"
    assert "encrypted with another" in second and "encrypted with another" in moved


def test_an_entity_is_shared_with_a_user_and_a_group_and_with_nobody_else(ca, properties, tmp_path):
    with (
        started(ca, tmp_path / "it", "sharing-registry", properties) as server,
        server.plain(SharingRegistryService) as client,
    ):
        assert client.createDomain(Domain(name="geo")) == "geo"
        for name in ("ann", "bob", "cyd", "dan"):
            client.createUser(User(userId=name, domainId="geo", userName=name))
        client.createGroup(UserGroup(groupId="team", domainId="geo", name="team", ownerId="ann"))
        client.addUsersToGroup("geo", ["cyd"], "team")
        client.createEntityType(EntityType(entityTypeId="geo:PROJECT", domainId="geo", name="PROJECT"))
        client.createPermissionType(PermissionType(permissionTypeId="geo:READ", domainId="geo", name="READ"))
        client.createEntity(Entity(entityId="one", domainId="geo", entityTypeId="geo:PROJECT", ownerId="ann", name="one"))
        client.shareEntityWithUsers("geo", "one", ["bob"], "geo:READ", True)
        client.shareEntityWithGroups("geo", "one", ["team"], "geo:READ", True)
        access = {name: client.userHasAccess("geo", name, "one", "geo:READ") for name in ("ann", "bob", "cyd", "dan")}
        assert access == {"ann": True, "bob": True, "cyd": True, "dan": False}
        assert [one.groupId for one in client.getAllMemberGroupsForUser("geo", "cyd")] == ["team"]
        client.revokeEntitySharingFromUsers("geo", "one", ["bob"], "geo:READ")
        client.removeUsersFromGroup("geo", ["cyd"], "team")
        assert not client.userHasAccess("geo", "bob", "one", "geo:READ")
        assert not client.userHasAccess("geo", "cyd", "one", "geo:READ")
        with pytest.raises(SharingRegistryException, match="STAND-IN: there is no domain nowhere"):
            client.createUser(User(userId="ann", domainId="nowhere", userName="ann"))
        assert client.deleteDomain("geo") and not client.isUserExists("geo", "ann")


def test_profiles_groups_and_tenants_at_one_port(ca, properties, tmp_path):
    access, wrong = token(TOKEN, "geo"), token("canary-api-toke", "geo")
    profile = UserProfile(
        userId="ann", gatewayId="geo", emails=["ann@geo.example"], firstName="Ann", lastName="A", creationTime=1,
        lastAccessTime=1, validUntil=1, State=Status.ACTIVE,
    )  # fmt: skip
    with started(ca, tmp_path / "it", "profile-service", properties) as server:
        with server.plain(UserProfileService, "UserProfileService") as users:
            users.addUserProfile(access, profile)
            assert users.getUserProfileById(access, "ann", "geo").firstName == "Ann"
            assert users.doesUserExist(access, "ann", "geo") and not users.doesUserExist(access, "ann", "other")
            with pytest.raises(AuthorizationException, match="STAND-IN"):
                users.getAllUserProfilesInGateway(wrong, "geo", 0, 10)
            assert users.deleteUserProfile(access, "ann", "geo")
        with server.plain(GroupManagerService, "GroupManagerService") as groups:
            name = groups.createGroup(access, GroupModel(name="team"))
            assert groups.addUsersToGroup(access, ["ann"], name)
            assert [one.id for one in groups.getAllGroupsUserBelongs(access, "ann")] == [name]
            assert groups.hasOwnerAccess(access, name, "runbook")
            assert groups.deleteGroup(access, name, "runbook")
        with server.plain(TenantProfileService, "TenantProfileService") as tenants:
            inner = tenants.addGateway(access, gateway("geo"))
            assert tenants.isGatewayExist(access, "geo") and tenants.getGateway(access, inner).gatewayName == "Gateway geo"
            assert tenants.deleteGateway(access, inner, "geo") and tenants.getAllGateways(access) == []
        with server.plain(IamAdminServices, "IamAdminServices") as accounts:
            assert accounts.getAPIVersion() == "0.18.0"
            with pytest.raises(TException, match="STAND-IN: isUserExist is not implemented"):
                accounts.isUserExist(access, "ann")


def test_the_file_of_settings_is_read_as_java_reads_it():
    text = "\n".join(
        [
            "# note", "! note", "a=1", "b : 2", "c 3", "d = \\ x\\", "   y", "e=\\u20ac\\ud83d\\ude00", "f=a=b:c", "g\\:h=i", "j",
            "k=" + properties_value(" pass\\word ü€😀"),
        ]
    )  # fmt: skip
    code = "import sys; sys.path.insert(0, sys.argv[1]); import settings; print(ascii(settings.parse(sys.stdin.read())))"
    ran = subprocess.run([sys.executable, "-c", code, str(FOLDER)], input=text, capture_output=True, text=True)
    assert eval(ran.stdout) == {
        "a": "1", "b": "2", "c": "3", "d": " xy", "e": "€😀", "f": "a=b:c", "g:h": "i", "j": "", "k": " pass\\word ü€😀",
    }  # fmt: skip


def test_the_stand_in_stays_small():
    lines = {path.name: len(path.read_text().splitlines()) for path in FOLDER.glob("*.py")}
    assert sum(lines.values()) <= 1300 and max(lines.values()) <= 220


def test_who_connects_before_it_ends_is_still_answered(own_api):
    os.kill(own_api.process.pid, signal.SIGSTOP)
    own_api.process.send_signal(signal.SIGTERM)
    with socket.create_connection(("127.0.0.1", own_api.port), 5) as waiting:
        own_api.process.send_signal(signal.SIGCONT)
        context = ssl.create_default_context(cadata=own_api.ca.cert.decode())
        with context.wrap_socket(waiting, server_hostname="localhost") as secure:
            assert secure.version()
    assert own_api.process.wait(10) == 0
