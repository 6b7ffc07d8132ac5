"""How 06-verify calls the servers of the classic stack: by Thrift, with the classes of the official SDK.

Only the API server has a node port. The others are called at the address of their Service, through an SSH forward: kube-proxy
takes it to a pod from any host.
"""

import secrets
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from airavata.api.credential.store import CredentialStoreService
from airavata.api.sharing import SharingRegistryService
from airavata.base.api import BaseAPI
from airavata.model.credential.store.ttypes import PasswordCredential
from airavata.model.group.ttypes import GroupModel
from airavata.model.security.ttypes import AuthzToken
from airavata.model.sharing.ttypes import Domain
from airavata.model.user.ttypes import Status, UserProfile
from airavata.model.workspace.ttypes import Gateway, GatewayApprovalStatus
from airavata.service.profile.groupmanager.cpi import GroupManagerService
from airavata.service.profile.groupmanager.cpi.constants import GROUP_MANAGER_CPI_NAME
from airavata.service.profile.iam.admin.services.cpi import IamAdminServices
from airavata.service.profile.iam.admin.services.cpi.constants import IAM_ADMIN_SERVICES_CPI_NAME
from airavata.service.profile.tenant.cpi import TenantProfileService
from airavata.service.profile.tenant.cpi.constants import TENANT_PROFILE_CPI_NAME
from airavata.service.profile.user.cpi import UserProfileService
from airavata.service.profile.user.cpi.constants import USER_PROFILE_CPI_NAME
from thrift.Thrift import TException
from thrift.transport.TTransport import TTransportException

from airavata_runbook.chapters.api_server import api_client, api_token
from airavata_runbook.chapters.site_stack import stack_of
from airavata_runbook.chapters.verified_calls import Calls
from airavata_runbook.cluster.airavata_api import connected_to, token
from airavata_runbook.cluster.session import Session
from airavata_runbook.stacks import Component
from airavata_runbook.wellknown import SERVICES_CA

TEST = "runbook-verify"  # the id of whatever is made here
MADE = "Made by 06-verify"
NO_TOKEN = "the site's own server: the runbook has no token for it"


def airavata_api(session: Session, component: Component, calls: Calls) -> None:
    """A gateway is created, read and deleted; a wrong token is refused."""
    if not component.stand_in:
        return calls.skip(NO_TOKEN)
    access = token(api_token(session), TEST)
    gateway = Gateway(gatewayId=TEST, gatewayName=MADE, gatewayApprovalStatus=GatewayApprovalStatus.APPROVED)
    with api_client(session) as api:
        if api.isGatewayExist(access, TEST):  # left by a run that was interrupted here
            api.deleteGateway(access, TEST)
        calls.note("getAPIVersion", api.getAPIVersion())
        calls.expect("addGateway", api.addGateway(access, gateway), TEST)
        calls.expect("getGateway", api.getGateway(access, TEST).gatewayName, MADE)
        calls.expect("deleteGateway", api.deleteGateway(access, TEST), True)
        calls.expect("isGatewayExist", api.isGatewayExist(access, TEST), False)
        refusal = refused(lambda: api.getAllGateways(token("not-the-token")))
        calls.expect("getAllGateways with a wrong token", refusal, "AuthorizationException")


def credential_store(session: Session, component: Component, calls: Calls) -> None:
    """A password is stored and comes back as it was, which needs the keystore and the database; it is deleted."""
    password = secrets.token_urlsafe(16)
    credential = PasswordCredential(gatewayId=TEST, portalUserName=TEST, loginUserName=TEST, password=password, description=MADE)
    with service(session, component, CredentialStoreService.Client) as store:
        calls.note("getAPIVersion", store.getAPIVersion())
        name = store.addPasswordCredential(credential)
        calls.expect("addPasswordCredential", bool(name), True, shown="a token")
        same = store.getPasswordCredential(name, TEST).password == password
        calls.expect("getPasswordCredential", same, True, shown="the same password")
        calls.expect("deletePWDCredential", store.deletePWDCredential(name, TEST), True)
        gone = name not in (store.getAllPWDCredentialsForGateway(TEST) or {})
        calls.expect("getAllPWDCredentialsForGateway", gone, True, shown="without it")


def sharing_registry(session: Session, component: Component, calls: Calls) -> None:
    """A domain is created, read and deleted."""
    with service(session, component, SharingRegistryService.Client) as registry:
        if registry.isDomainExists(TEST):  # left by a run that was interrupted here
            registry.deleteDomain(TEST)
        calls.note("getAPIVersion", registry.getAPIVersion())
        calls.expect("createDomain", registry.createDomain(Domain(domainId=TEST, name=TEST, description=MADE)), TEST)
        calls.expect("getDomain", registry.getDomain(TEST).description, MADE)
        calls.expect("deleteDomain", registry.deleteDomain(TEST), True)
        calls.expect("isDomainExists", registry.isDomainExists(TEST), False)


def profile_service(session: Session, component: Component, calls: Calls) -> None:
    """Its four services: a user's profile, a group and a tenant are created, read and deleted; a wrong token is refused."""
    if not component.stand_in:
        return calls.skip(NO_TOKEN)
    gateway = session.site.airavata.gateway
    access = token(api_token(session), gateway)
    with service(session, component, UserProfileService.Client, USER_PROFILE_CPI_NAME) as users:
        _user(users, access, gateway, calls)
    with service(session, component, GroupManagerService.Client, GROUP_MANAGER_CPI_NAME) as groups:
        _group(groups, access, calls)
    with service(session, component, TenantProfileService.Client, TENANT_PROFILE_CPI_NAME) as tenants:
        _tenant(tenants, access, calls)
    with service(session, component, IamAdminServices.Client, IAM_ADMIN_SERVICES_CPI_NAME) as accounts:
        calls.note("getAPIVersion of IamAdminServices", accounts.getAPIVersion())


def _user(users: UserProfileService.Client, access: AuthzToken, gateway: str, calls: Calls) -> None:
    profile = UserProfile(
        userModelVersion="1.0",
        airavataInternalUserId=f"{TEST}@{gateway}",
        userId=TEST,
        gatewayId=gateway,
        emails=[f"{TEST}@{gateway}.invalid"],
        firstName="Made by",
        lastName="06-verify",
        creationTime=0,
        lastAccessTime=0,
        validUntil=0,
        State=Status.ACTIVE,
    )
    if users.doesUserExist(access, TEST, gateway):  # left by a run that was interrupted here
        users.deleteUserProfile(access, TEST, gateway)
    calls.note("getAPIVersion", users.getAPIVersion())
    calls.expect("addUserProfile", bool(users.addUserProfile(access, profile)), True, shown="created")
    calls.expect("getUserProfileById", users.getUserProfileById(access, TEST, gateway).lastName, "06-verify")
    calls.expect("deleteUserProfile", users.deleteUserProfile(access, TEST, gateway), True)
    calls.expect("doesUserExist", users.doesUserExist(access, TEST, gateway), False)
    refusal = refused(lambda: users.doesUserExist(token("not-the-token"), TEST, gateway))
    calls.expect("doesUserExist with a wrong token", refusal, "AuthorizationException")


def _group(groups: GroupManagerService.Client, access: AuthzToken, calls: Calls) -> None:
    for left in groups.getGroups(access):
        if left.name == TEST:  # by a run that was interrupted here
            groups.deleteGroup(access, left.id, left.ownerId)
    made = groups.createGroup(access, GroupModel(name=TEST, description=MADE))
    calls.expect("createGroup", bool(made), True, shown="created")
    group = groups.getGroup(access, made)
    calls.expect("getGroup", group.description, MADE)
    calls.expect("deleteGroup", groups.deleteGroup(access, made, group.ownerId), True)
    calls.expect("getGroups", TEST in [one.name for one in groups.getGroups(access)], False, shown="without it")


def _tenant(tenants: TenantProfileService.Client, access: AuthzToken, calls: Calls) -> None:
    for left in tenants.getAllGateways(access):
        if left.gatewayId == TEST:  # by a run that was interrupted here
            tenants.deleteGateway(access, left.airavataInternalGatewayId, TEST)
    wanted = Gateway(gatewayId=TEST, gatewayName=MADE, gatewayApprovalStatus=GatewayApprovalStatus.APPROVED)
    made = tenants.addGateway(access, wanted)
    calls.expect("addGateway of a tenant", bool(made), True, shown="created")
    calls.expect("getGateway of a tenant", tenants.getGateway(access, made).gatewayName, MADE)
    calls.expect("deleteGateway of a tenant", tenants.deleteGateway(access, made, TEST), True)
    calls.expect("isGatewayExist of a tenant", tenants.isGatewayExist(access, TEST), False)


def version(session: Session, component: Component, calls: Calls) -> None:
    """A server of which the SDK has no class but the one that all have in common: its version."""
    if not component.stand_in:
        return calls.skip("the site's own server: the SDK has no class for it")
    with service(session, component, BaseAPI.Client) as server:
        calls.note("getAPIVersion", server.getAPIVersion())


def refused(call: Callable[[], object]) -> str:
    """The type of the server's refusal; "answered" when it did not refuse."""
    try:
        call()
    except TTransportException:
        raise  # not a refusal: the connection was lost
    except TException as error:
        return type(error).__name__
    return "answered"


def service(session: Session, component: Component, client: Any, of: str = "") -> AbstractContextManager[Any]:
    """The SDK's client of a component's Service, with TLS where the component serves it. of: a service of several on its port."""
    stack = stack_of(session.site)
    spec = session.kube().core.read_namespaced_service(component.name, stack.namespace).spec
    authority = session.vault.authority(SERVICES_CA).cert if f"{component.name}-tls" in stack.certificates else None
    port = session.master.forward(spec.ports[0].port, spec.cluster_ip)
    return connected_to(component.name, client, port, authority, of)
