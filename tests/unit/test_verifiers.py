"""How 06-verify calls Airavata's servers: against servers made of the SDK's own classes, right ones and wrong ones."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import get_args

import pytest
from airavata.api.credential.store import CredentialStoreService
from airavata.api.error.ttypes import AuthorizationException
from airavata.api.sharing import SharingRegistryService
from airavata.service.profile.groupmanager.cpi import GroupManagerService
from airavata.service.profile.groupmanager.cpi.constants import GROUP_MANAGER_CPI_NAME
from airavata.service.profile.iam.admin.services.cpi import IamAdminServices
from airavata.service.profile.iam.admin.services.cpi.constants import IAM_ADMIN_SERVICES_CPI_NAME
from airavata.service.profile.tenant.cpi import TenantProfileService
from airavata.service.profile.tenant.cpi.constants import TENANT_PROFILE_CPI_NAME
from airavata.service.profile.user.cpi import UserProfileService
from airavata.service.profile.user.cpi.constants import USER_PROFILE_CPI_NAME
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.Thrift import TApplicationException
from thrift.TMultiplexedProcessor import TMultiplexedProcessor
from thrift.transport.TSocket import TSocket
from thrift.transport.TTransport import TBufferedTransport, TTransportException

from airavata_runbook.chapters import verifiers, verify_classic, verify_kafka
from airavata_runbook.chapters.verified_calls import Calls
from airavata_runbook.errors import SiteError
from airavata_runbook.site.stack_file import Verifier
from airavata_runbook.stacks import Component, LeftOut, load
from tests.unit.test_stacks import STACK, images, lab, planted

TOKEN = "canary-token"


class Sharing:
    def __init__(self):
        self.domains = {}

    def getAPIVersion(self):
        return "0.18.0"

    def createDomain(self, domain):
        self.domains[domain.domainId] = domain
        return domain.domainId

    def isDomainExists(self, name):
        return name in self.domains

    def getDomain(self, name):
        return self.domains[name]

    def deleteDomain(self, name):
        return self.domains.pop(name, None) is not None


class Store:
    def __init__(self):
        self.passwords = {}

    def getAPIVersion(self):
        return "0.18.0"

    def addPasswordCredential(self, credential):
        self.passwords["token-1"] = credential
        return "token-1"

    def getPasswordCredential(self, name, gateway):
        return self.passwords[name]

    def deletePWDCredential(self, name, gateway):
        return self.passwords.pop(name, None) is not None

    def getAllPWDCredentialsForGateway(self, gateway):
        return dict.fromkeys(self.passwords, "")


class Profiles:
    def __init__(self):
        self.users, self.groups, self.gateways = {}, {}, {}

    def getAPIVersion(self):
        return "0.18.0"

    def allowed(self, token):
        if token.accessToken != TOKEN:
            raise AuthorizationException("no")

    def addUserProfile(self, token, profile):
        self.allowed(token)
        self.users[profile.userId] = profile
        return f"{profile.userId}@{profile.gatewayId}"

    def getUserProfileById(self, token, user, gateway):
        self.allowed(token)
        return self.users[user]

    def deleteUserProfile(self, token, user, gateway):
        self.allowed(token)
        return self.users.pop(user, None) is not None

    def doesUserExist(self, token, user, gateway):
        self.allowed(token)
        return user in self.users

    def getGroups(self, token):
        self.allowed(token)
        return list(self.groups.values())

    def createGroup(self, token, group):
        self.allowed(token)
        group.id, group.ownerId = "group-1", token.claimsMap["userName"]
        self.groups[group.id] = group
        return group.id

    def getGroup(self, token, name):
        return self.groups[name]

    def deleteGroup(self, token, name, owner):
        return self.groups.pop(name, None) is not None

    def getAllGateways(self, token):
        self.allowed(token)
        return list(self.gateways.values())

    def addGateway(self, token, gateway):
        gateway.airavataInternalGatewayId = "internal-1"
        self.gateways["internal-1"] = gateway
        return "internal-1"

    def getGateway(self, token, name):
        return self.gateways[name]

    def deleteGateway(self, token, name, gateway):
        return self.gateways.pop(name, None) is not None

    def isGatewayExist(self, token, gateway):
        return gateway in [one.gatewayId for one in self.gateways.values()]


# Component → its server, and the service at its port, or those at it by name.
SERVICES = {
    "sharing-registry": (Sharing, SharingRegistryService),
    "credential-store": (Store, CredentialStoreService),
    "profile-service": (
        Profiles,
        {
            USER_PROFILE_CPI_NAME: UserProfileService,
            GROUP_MANAGER_CPI_NAME: GroupManagerService,
            TENANT_PROFILE_CPI_NAME: TenantProfileService,
            IAM_ADMIN_SERVICES_CPI_NAME: IamAdminServices,
        },
    ),
}


@contextmanager
def served(name: str, **wrong) -> Iterator[int]:
    """The port of a server. wrong: calls that it answers in another way."""
    handler, services = SERVICES[name]
    server = type("Wrong", (handler,), wrong)()
    if isinstance(services, dict):
        processor = TMultiplexedProcessor()
        for of, service in services.items():
            processor.registerProcessor(of, service.Processor(server))
    else:
        processor = services.Processor(server)

    class Client(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            connection = TSocket()
            connection.setHandle(self.request)
            protocol = TBinaryProtocol(TBufferedTransport(connection))
            with suppress(EOFError, TTransportException):  # the client hung up
                while True:
                    processor.process(protocol, protocol)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Client) as listening:
        listening.daemon_threads = True
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening.server_address[1]
        listening.shutdown()


@pytest.fixture
def calls(monkeypatch):
    """`calls(name, port)`: the rows and problems of the verifier, for a stand-in whose Service leads to that port."""
    asked = []

    def forward(port: int, address: str) -> int:
        asked.append((address, port))
        return session.port

    def read(name: str, namespace: str):
        asked.append((namespace, name))
        return SimpleNamespace(spec=SimpleNamespace(cluster_ip="10.254.7.7", ports=[SimpleNamespace(port=8960)]))

    core = SimpleNamespace(read_namespaced_service=read)
    session = SimpleNamespace(
        site=SimpleNamespace(airavata=SimpleNamespace(gateway="default")),
        kube=lambda: SimpleNamespace(core=core),
        master=SimpleNamespace(forward=forward),
        asked=asked,
    )
    monkeypatch.setattr(verify_classic, "api_token", lambda session: TOKEN)

    def call(name: str, port: int, stand_in: bool = True, left_out: tuple = ()) -> tuple[list, list]:
        session.port = port
        stack = SimpleNamespace(
            namespace="airavata", certificates={}, left_out=left_out, components=[Component(name, stand_in, (), verify=name)]
        )
        monkeypatch.setattr(verifiers, "stack_of", lambda site: stack)
        monkeypatch.setattr(verify_classic, "stack_of", lambda site: stack)
        return verifiers.server_calls(session)

    call.asked = asked
    return call


@pytest.mark.parametrize("name", SERVICES)
def test_a_right_server_passes_and_is_called_at_its_services_address(calls, name):
    with served(name) as port:
        rows, problems = calls(name, port)
        again, _ = calls(name, port)
    assert problems == [] and rows == again
    assert {row[0] for row in rows} == {name} and {row[3] for row in rows} == {"STAND-IN"}
    assert len(rows) >= 5 and rows[0][1:3] == ["getAPIVersion", "0.18.0"]
    assert calls.asked[:2] == [("airavata", name), ("10.254.7.7", 8960)]
    assert "canary" not in str(rows)


@pytest.mark.parametrize(
    ("name", "wrong", "said"),
    [
        ("credential-store", {"getPasswordCredential": lambda self, *_: other_password()}, "getPasswordCredential: found False"),
        ("credential-store", {"deletePWDCredential": lambda self, name, _: not self.passwords.pop(name)}, "deletePWDCred"),
        ("sharing-registry", {"deleteDomain": lambda self, *_: True}, "isDomainExists: found True, needed False"),
        ("sharing-registry", {"createDomain": lambda self, *_: fail()}, "it refused the call after getAPIVersion: "),
        ("profile-service", {"allowed": lambda self, *_: None}, "doesUserExist with a wrong token: found answered"),
        ("profile-service", {"deleteGroup": lambda self, *_: True}, "getGroups: found True, needed False"),
        ("profile-service", {"deleteGateway": lambda self, *_: True}, "isGatewayExist of a tenant: found True"),
    ],
)  # fmt: skip
def test_a_server_that_is_up_and_fails_at_its_work_is_a_problem(calls, name, wrong, said):
    with served(name, **wrong) as port:
        _, problems = calls(name, port)
    assert len(problems) == 1 and problems[0].startswith(f"{name}: {said}"), problems
    assert "canary" not in str(problems)


def other_password():
    return CredentialStoreService.airavata.model.credential.store.ttypes.PasswordCredential(
        gatewayId="g", portalUserName="u", loginUserName="u", password="another"
    )


def fail():
    raise TApplicationException(TApplicationException.INTERNAL_ERROR, "the database does not answer")


def test_a_server_that_does_not_answer_is_a_problem_and_the_others_are_still_called(calls):
    with served("sharing-registry") as port:
        pass
    rows, problems = calls("sharing-registry", port)
    assert rows == [] and problems[0].startswith("sharing-registry: sharing-registry does not answer the SDK")


def test_the_sites_own_server_that_wants_a_token_and_one_that_is_left_out_are_said_to_be_not_verified(calls):
    left = LeftOut("gfac", "the site names no image")
    rows, problems = calls("profile-service", 1, stand_in=False, left_out=(left,))
    assert problems == [] and rows[0][:2] == ["profile-service", "not verified"] and "token" in rows[0][2]
    assert rows[1] == ["gfac", "not verified", "left out: the site names no image", ""]


def test_an_optional_component_that_the_site_does_not_have_is_no_gap(calls):
    left = LeftOut("kafka", "optional", wanted=False)
    rows, _ = calls("profile-service", 1, stand_in=False, left_out=(left,))
    assert len(rows) == 1


SAID = """WARN of a client
read 06-verify {}
refused TopicAuthorizationException
deleted lab_runbook-verify-…
"""


@pytest.mark.parametrize(
    ("said", "problems"),
    [
        (SAID, []),
        (SAID.replace("06-verify {}", ""), ["write without a password, read with it: found , needed", "WARN of a client"]),
        (SAID.replace("refused TopicAuthorizationException", "refused nothing"), ["read without a password: found nothing"]),
        ("read 06-verify {}\nOutOfMemoryError", ["kafka-round-trip ended early, it printed read 06-verify", "OutOfMemoryError"]),
        ("", ["kafka-round-trip ended early, it printed nothing for 90 s"]),
    ],
    ids=["right", "no message", "read by anyone", "cut off", "silent"],
)
def test_kafka_is_asked_in_its_pod_for_a_message_that_goes_through(monkeypatch, said, problems):
    asked = []

    def output_of(session, pod, namespace, command, seconds):
        asked.append((pod, namespace, command[:2]))
        return said.replace("06-verify {}", command[2])

    monkeypatch.setattr(verify_kafka, "pods_of", lambda session, component: {"kafka-old": True, "kafka-0": False})
    monkeypatch.setattr(verify_kafka, "output_of", output_of)
    calls = Calls()
    verify_kafka.verify(SimpleNamespace(site=lab()), Component("kafka", False, (), verify="kafka"), calls)
    assert asked == [("kafka-0", "airavata", ["kafka-round-trip", "lab"])]
    found = "\n".join(calls.problems)
    assert bool(found) == bool(problems) and all(one in found for one in problems)
    assert bool(calls.rows) == ("deleted" in said)


def test_every_name_that_a_stack_may_give_has_its_verifier():
    assert set(verifiers.VERIFIERS) == set(get_args(Verifier)) - {""}
    for name in ("airavata_api", "credential_store", "profile_service", "sharing_registry", "version"):
        assert callable(getattr(import_module("airavata_runbook.chapters.verify_classic"), name))
    if find_spec("airavata_runbook.chapters.verify_unified"):
        assert callable(import_module("airavata_runbook.chapters.verify_unified").verify)


def test_a_stack_that_names_another_verifier_is_refused(tmp_path):
    folder = planted(tmp_path, STACK, "verify: airavata-api", "verify: airavata")
    with pytest.raises(SiteError, match=r"stack.yaml: components.*verify"):
        load(lab(), images(lab()), folder=folder)
